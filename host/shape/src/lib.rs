//! What the interfaces of the contract look like, and how two of them differ, in words.
//!
//! Components are linked by structure: a record with one more field is another record. So the host compares what a plugin was
//! built for with what it provides itself, and says which field it is; and a released version of the contract is compared
//! with what lies in `wit/` today.

mod difference;
mod read;
pub mod release;

use std::collections::BTreeMap;
use std::fmt::{self, Display};

pub use self::difference::{Difference, Item, Newer, Place, Sides, What, compare, newer};
pub use self::read::{Contract, PackageName, ReadError, World};

/// An interface: what can be called, and the types that have names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// By name.
    pub functions: BTreeMap<String, Function>,
    /// By name. Names of plain types are left out: they mean the same as what they stand for.
    pub types: BTreeMap<String, Shape>,
}

/// What a function takes and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Name and type, in order.
    pub params: Vec<(String, Shape)>,
    /// What it answers, if anything.
    pub result: Option<Shape>,
}

/// A type, with everything that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `u32`, `string` and the like, by its name.
    Plain(&'static str),
    /// `list<T>`.
    List(Box<Self>),
    /// `option<T>`.
    Option(Box<Self>),
    /// `result<T, E>`.
    Result(Option<Box<Self>>, Option<Box<Self>>),
    /// `tuple<T, …>`.
    Tuple(Vec<Self>),
    /// A record with its fields.
    Record(Name, Vec<(String, Self)>),
    /// A variant with its cases.
    Variant(Name, Vec<(String, Option<Self>)>),
    /// An enum with its cases.
    Enum(Name, Vec<String>),
    /// Flags.
    Flags(Name, Vec<String>),
    /// A handle to a resource, `own` or `borrow`.
    Handle(Name, &'static str),
    /// What is not part of any contract so far, such as `stream`, in words.
    Other(String),
}

/// What a type is called; a component's types do not say.
pub type Name = Option<String>;

impl Shape {
    /// What the type is called, where it has a name.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Record(name, _)
            | Self::Variant(name, _)
            | Self::Enum(name, _)
            | Self::Flags(name, _)
            | Self::Handle(name, _) => name.as_deref(),
            Self::Plain(_) | Self::List(_) | Self::Option(_) | Self::Result(..) | Self::Tuple(_) | Self::Other(_) => {
                None
            }
        }
    }

    /// `record`, `variant` and the like.
    pub fn sort(&self) -> &str {
        match self {
            Self::Plain(name) => name,
            Self::List(_) => "list",
            Self::Option(_) => "option",
            Self::Result(..) => "result",
            Self::Tuple(_) => "tuple",
            Self::Record(..) => "record",
            Self::Variant(..) => "variant",
            Self::Enum(..) => "enum",
            Self::Flags(..) => "flags",
            Self::Handle(_, kind) => kind,
            Self::Other(what) => what,
        }
    }
}

/// Names of fields or cases that are shown of a type without a name.
const SHOWN: usize = 4;

/// As WIT has it; a type without a name shows what its first fields or cases are called.
impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name() {
            return if let Self::Handle(_, kind) = self { write!(f, "{kind}<{name}>") } else { f.write_str(name) };
        }
        match self {
            Self::Plain(name) => f.write_str(name),
            Self::Other(what) => f.write_str(what),
            Self::Handle(_, kind) => write!(f, "{kind} of a resource"),
            Self::List(of) => write!(f, "list<{of}>"),
            Self::Option(of) => write!(f, "option<{of}>"),
            Self::Result(None, None) => f.write_str("result"),
            Self::Result(Some(ok), None) => write!(f, "result<{ok}>"),
            Self::Result(None, Some(err)) => write!(f, "result<_, {err}>"),
            Self::Result(Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
            Self::Tuple(parts) => {
                let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
                write!(f, "tuple<{}>", parts.join(", "))
            }
            Self::Record(_, fields) => some_of(f, "record", fields.iter().map(|(name, _)| name)),
            Self::Variant(_, cases) => some_of(f, "variant", cases.iter().map(|(name, _)| name)),
            Self::Enum(_, cases) => some_of(f, "enum", cases.iter()),
            Self::Flags(_, flags) => some_of(f, "flags", flags.iter()),
        }
    }
}

fn some_of<'a>(
    f: &mut fmt::Formatter<'_>,
    sort: &str,
    names: impl ExactSizeIterator<Item = &'a String>,
) -> fmt::Result {
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let names: Vec<_> = names.take(SHOWN).map(String::as_str).collect();
    write!(f, "{sort} {{{}{more}}}", names.join(", "))
}
