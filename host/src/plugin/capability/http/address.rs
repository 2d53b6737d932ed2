//! Which addresses a plugin may reach: those of the public internet, and private ones when the manifest says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To the internet.
    Public,
    /// To this machine or its neighbourhood, which `private = true` opens; what it is.
    Private(&'static str),
    /// Nowhere that a plugin has any business; what it is.
    Never(&'static str),
}

/// Where clouds keep the credentials of a machine; some lie within ranges that would be open otherwise.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Where `address` leads.
pub(super) fn reach(address: IpAddr) -> Reach {
    if METADATA.contains(&address) {
        return Reach::Never("a cloud's metadata service");
    }
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [0, ..] => Reach::Never("an unspecified address"),
        [127, ..] => Reach::Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private("a private address"),
        [100, 64..=127, ..] => Reach::Private("a shared (carrier-grade NAT) address"),
        [169, 254, ..] => Reach::Never("a link-local address"),
        [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => Reach::Never("a reserved address"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Never("an address of documentation"),
        [192, 88, 99, _] => Reach::Never("a relay of IPv6"),
        [224..=239, ..] => Reach::Never("a multicast address"),
        _ => Reach::Public,
    }
}

/// Forms that carry an IPv4 address inside never pass: the same place has a plain name.
fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Never("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private("a loopback address"),
        [0, 0, 0, 0, 0, 0xffff, ..] => Reach::Never("an IPv4 address mapped into IPv6"),
        [0, 0, 0, 0, 0xffff, 0, ..] => Reach::Never("an IPv4 address translated into IPv6"),
        [0, 0, 0, 0, 0, 0, ..] => Reach::Never("an IPv4 address in compatible form"),
        [0x64, 0xff9b, ..] => Reach::Never("an IPv4 address behind NAT64"),
        [0x2002, ..] => Reach::Never("an IPv4 address behind 6to4"),
        [0x2001, 0, ..] => Reach::Never("an IPv4 address behind Teredo"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Never("an address of documentation"),
        // Of a cloud, with its metadata, credentials, names and clock.
        [0xfd00, 0xec2, ..] => Reach::Never("a cloud's metadata service"),
        [0xfc00..=0xfdff, ..] => Reach::Private("a private address"),
        [0xfe80..=0xfebf, ..] => Reach::Never("a link-local address"),
        [0xfec0..=0xfeff, ..] => Reach::Never("a site-local address"),
        [0xff00..=0xffff, ..] => Reach::Never("a multicast address"),
        // What is given out to the internet lies in here; all the rest is reserved.
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::{Reach, reach};

    fn of(text: &str) -> Reach {
        reach(text.parse().unwrap())
    }

    #[test]
    fn the_internet_is_public() {
        for address in ["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111"] {
            assert_eq!(of(address), Reach::Public, "{address}");
        }
    }

    #[test]
    fn this_machine_and_its_neighbours_are_private() {
        for address in
            ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1"]
        {
            assert!(matches!(of(address), Reach::Private(_)), "{address}");
        }
    }

    #[test]
    fn what_leads_to_the_machines_own_world_is_never_reached() {
        for address in [
            "169.254.169.254",
            "169.254.1.1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "fe80::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "4000::1",
        ] {
            assert!(matches!(of(address), Reach::Never(_)), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_form_of_an_ipv4_address_is_public_but_its_own(bits in any::<u32>(), prefix in 0..6_usize) {
            let prefixes = ["::ffff:0:0", "::ffff:0:0:0", "::", "64:ff9b::", "64:ff9b:1::", "2002::"];
            let base: Ipv6Addr = prefixes[prefix].parse().unwrap();
            let shift = if prefix == 5 { 80 } else { 0 };
            let embedded = Ipv6Addr::from_bits(base.to_bits() | (u128::from(bits) << shift));
            prop_assert_ne!(reach(embedded.into()), Reach::Public);
        }

        #[test]
        fn nothing_that_the_standard_library_calls_special_is_public(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!special || reach(address.into()) != Reach::Public);
        }
    }
}
