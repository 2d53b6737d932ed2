//! A component that was built for a contract of another shape: which interface, function, field or case it is, which side is
//! newer, and what to do about it.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::LazyLock;

use taskhost_shape::{Contract, Difference, Function, Interface, Item, Newer, Shape, Sides, What, compare, newer};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};

use crate::plugin::contract;

const SIDES: Sides = Sides { left: "this host", right: "the plugin" };
/// Differences that are told of one component.
const MAX_TOLD: usize = 8;
/// Types within types that are looked at in one interface: many times what the contract has.
const MAX_TYPES: usize = 20_000;

/// What the host provides and calls, as its own bindings have it, by id.
static CONTRACT: LazyLock<BTreeMap<String, Interface>> = LazyLock::new(|| {
    Contract::of_component_type(contract::COMPONENT_TYPE)
        .expect("the bindings encode the world they were made of")
        .interfaces
});

/// Whether the host calls an interface or provides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The guest calls what the host provides.
    Import,
    /// The host calls what the guest has.
    Export,
}

/// How a component differs from the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The interface, whether it is imported or exported, and one difference in words.
    lines: Vec<String>,
    /// Differences beyond those.
    more: usize,
    newer: Newer,
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("; "))?;
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        write!(f, ". {}", remedy(self.newer))
    }
}

/// What to do, by who is newer: left is the host.
pub(super) fn remedy(newer: Newer) -> &'static str {
    match newer {
        Newer::Left => {
            "The plugin was built for an older contract: write this host's with `taskhost plugin wit FOLDER` and rebuild the plugin"
        }
        Newer::Right => {
            "The plugin was built for a newer contract: upgrade the host, or write this host's contract with \
             `taskhost plugin wit FOLDER` and rebuild the plugin for it"
        }
        Newer::Neither => {
            "Neither contract contains the other: write this host's with `taskhost plugin wit FOLDER` and rebuild the plugin"
        }
    }
}

/// Compares what a component imports and exports of the contract with what the host has.
pub(super) fn check(component: &Component) -> Result<(), Mismatch> {
    let (shape, engine) = (component.component_type(), component.engine());
    let imports = shape.imports(engine).map(|(id, of)| (Direction::Import, id, of.ty));
    let exports = shape.exports(engine).map(|(id, of)| (Direction::Export, id, of.ty));
    let mut found = Vec::new();
    for (direction, id, item) in imports.chain(exports) {
        let ComponentItem::ComponentInstance(instance) = item else { continue };
        let Some(host) = of_this_host(id) else { continue };
        let differences = differences(host, &interface(&instance, engine), direction);
        found.extend(differences.into_iter().map(|difference| (direction, id.to_owned(), difference)));
    }
    if found.is_empty() { Ok(()) } else { Err(report(&found)) }
}

fn report(found: &[(Direction, String, Difference)]) -> Mismatch {
    let newer = newer(&found.iter().map(|(.., difference)| difference.clone()).collect::<Vec<_>>());
    let lines = found.iter().take(MAX_TOLD).map(|(direction, id, difference)| {
        let what = match direction {
            Direction::Import => "its import",
            Direction::Export => "its export",
        };
        format!("{what} {id}: {}", difference.told(&SIDES))
    });
    Mismatch { lines: lines.collect(), more: found.len().saturating_sub(MAX_TOLD), newer }
}

/// The host's interface of that name and line; which versions make a line was looked at before.
fn of_this_host(id: &str) -> Option<&'static Interface> {
    CONTRACT.get(id).or_else(|| {
        let name = id.split('@').next()?;
        let named = |other: &&String| other.split('@').next() == Some(name);
        CONTRACT.keys().find(named).and_then(|other| CONTRACT.get(other))
    })
}

/// What keeps the two from being linked: a guest imports no more than it calls, and may export more than the host calls.
fn differences(host: &Interface, guest: &Interface, direction: Direction) -> Vec<Difference> {
    // Types are compared where a function has them.
    let functions = |of: &Interface| Interface { types: BTreeMap::new(), functions: of.functions.clone() };
    let (host, guest) = (functions(host), functions(guest));
    let matters = |difference: &Difference| {
        !matches!(
            (&difference.what, direction),
            (What::Missing(Item::Function, _), Direction::Import) | (What::Added(Item::Function, _), Direction::Export)
        )
    };
    compare(&host, &guest, true).into_iter().filter(matters).collect()
}

fn interface(of: &ComponentInstance, engine: &Engine) -> Interface {
    let mut reader = Reader { left: MAX_TYPES };
    let functions = of.exports(engine).filter_map(|(name, item)| match item.ty {
        ComponentItem::ComponentFunc(function) => Some((name.to_owned(), reader.function(&function))),
        ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::ComponentInstance(_)
        | ComponentItem::Type(_)
        | ComponentItem::Resource(_) => None,
    });
    Interface { functions: functions.collect(), types: BTreeMap::new() }
}

/// Reads a component's types. Those of a hostile one may be huge.
struct Reader {
    left: usize,
}

impl Reader {
    fn function(&mut self, of: &ComponentFunc) -> Function {
        let params = of.params().map(|(name, of)| (name.to_owned(), self.shape(&of))).collect();
        Function { params, result: of.results().next().map(|of| self.shape(&of)) }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not plain is read below")]
    fn shape(&mut self, of: &Type) -> Shape {
        let Some(left) = self.left.checked_sub(1) else { return Shape::Other("a type beyond all bounds".to_owned()) };
        self.left = left;
        let plain = match of {
            Type::Bool => "bool",
            Type::S8 => "s8",
            Type::U8 => "u8",
            Type::S16 => "s16",
            Type::U16 => "u16",
            Type::S32 => "s32",
            Type::U32 => "u32",
            Type::S64 => "s64",
            Type::U64 => "u64",
            Type::Float32 => "f32",
            Type::Float64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::ErrorContext => "error-context",
            _ => return self.compound(of),
        };
        Shape::Plain(plain)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "plain types are read before")]
    fn compound(&mut self, of: &Type) -> Shape {
        let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        match of {
            Type::List(of) => Shape::List(Box::new(self.shape(&of.ty()))),
            Type::Option(of) => Shape::Option(Box::new(self.shape(&of.ty()))),
            Type::Result(of) => {
                let mut boxed = |of: Option<Type>| of.map(|of| Box::new(self.shape(&of)));
                Shape::Result(boxed(of.ok()), boxed(of.err()))
            }
            Type::Tuple(of) => Shape::Tuple(of.types().map(|of| self.shape(&of)).collect()),
            Type::Record(of) => {
                Shape::Record(None, of.fields().map(|of| (of.name.to_owned(), self.shape(&of.ty))).collect())
            }
            Type::Variant(of) => {
                let cases = of.cases().map(|of| (of.name.to_owned(), of.ty.map(|of| self.shape(&of))));
                Shape::Variant(None, cases.collect())
            }
            Type::Enum(of) => Shape::Enum(None, names(&mut of.names())),
            Type::Flags(of) => Shape::Flags(None, names(&mut of.names())),
            Type::Own(_) => Shape::Handle(None, "own"),
            Type::Borrow(_) => Shape::Handle(None, "borrow"),
            Type::FixedLengthList(of) => Shape::Other(format!("list<{}, {}>", self.shape(&of.ty()), of.len())),
            Type::Future(_) => Shape::Other("future".to_owned()),
            Type::Stream(_) => Shape::Other("stream".to_owned()),
            _ => Shape::Other("map".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(text: &str) -> BTreeMap<String, Interface> {
        Contract::of_text(&format!("package a:b@1.0.0;\n{text}")).unwrap().interfaces
    }

    fn told(host: &str, guest: &str, direction: Direction) -> Option<Mismatch> {
        let (host, guest) = (contract(host), contract(guest));
        let found = differences(&host["a:b/i@1.0.0"], &guest["a:b/i@1.0.0"], direction);
        let found: Vec<_> = found.into_iter().map(|found| (direction, "a:b/i@1.0.0".to_owned(), found)).collect();
        (!found.is_empty()).then(|| report(&found))
    }

    #[test]
    fn a_guest_may_import_less_and_export_more() {
        let (small, large) = ("interface i { f: func(); }", "interface i { f: func(); g: func(); }");
        assert_eq!(told(large, small, Direction::Import), None);
        assert_eq!(told(small, large, Direction::Export), None);
        let lacks = told(small, large, Direction::Import).unwrap().to_string();
        assert!(lacks.starts_with("its import a:b/i@1.0.0: the plugin has the function `g`, which this host lacks. The plugin was built for a newer contract: upgrade the host"), "{lacks}");
        let lacks = told(large, small, Direction::Export).unwrap().to_string();
        assert!(lacks.starts_with("its export a:b/i@1.0.0: the plugin lacks the function `g`, which this host has. The plugin was built for an older contract"), "{lacks}");
    }

    #[test]
    fn many_differences_are_counted() {
        let case = |count: usize| (0..count).map(|at| format!("c{at}, ")).collect::<String>();
        let text = |count| format!("interface i {{ enum e {{ {} }} f: func(e: e); }}", case(count));
        let report = told(&text(20), &text(1), Direction::Import).unwrap().to_string();
        assert!(report.contains("; and 11 more. The plugin was built for an older contract"), "{report}");
        assert_eq!(report.matches("the plugin lacks the case").count(), MAX_TOLD);
    }

    #[test]
    fn the_hosts_own_contract_is_read() {
        let log = of_this_host("taskhost:host/log@0.1.0").unwrap();
        assert_eq!(log.functions.len(), 1);
        assert_eq!(of_this_host("taskhost:host/log@0.1.9"), Some(log));
        assert_eq!(of_this_host("taskhost:host/nothing@0.1.0"), None);
    }
}
