//! How two interfaces differ, each difference by itself and in words.

use std::fmt::{self, Display};

use crate::{Function, Interface, Shape};

/// What of an interface or a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A function of an interface.
    Function,
    /// A named type of an interface.
    Type,
    /// A parameter of a function.
    Parameter,
    /// A field of a record.
    Field,
    /// A case of a variant or an enum.
    Case,
    /// One of some flags.
    Flag,
}

impl Item {
    fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Type => "type",
            Self::Parameter => "parameter",
            Self::Field => "field",
            Self::Case => "case",
            Self::Flag => "flag",
        }
    }
}

/// Where two interfaces differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In what it has.
    Interface,
    /// In a function.
    Function(String),
    /// In a named type: its sort and its name.
    Type(String, String),
}

/// How they differ there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Only the left one has it.
    Missing(Item, String),
    /// Only the right one has it.
    Added(Item, String),
    /// What is alike is called otherwise: the left one's name and the right one's.
    Renamed(Item, String, String),
    /// The same names in another order: the left one's and the right one's.
    Moved(Item, String, String),
    /// A type is another: of what, the left one's and the right one's.
    Changed(String, String, String),
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// How.
    pub what: What,
}

/// Which side has everything that the other has, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// None of them: each has something that the other has not.
    Neither,
}

/// What the two sides are called in a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// Such as `this host`.
    pub left: &'static str,
    /// Such as `the plugin`.
    pub right: &'static str,
}

impl Difference {
    /// The difference in words.
    pub fn told<'a>(&'a self, sides: &'a Sides) -> impl Display + 'a {
        Told(self, sides)
    }
}

struct Told<'a>(&'a Difference, &'a Sides);

impl Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Difference { place, what }, Sides { left, right }) = self;
        match place {
            Place::Interface => {}
            Place::Function(name) => write!(f, "function `{name}`: ")?,
            Place::Type(sort, name) => write!(f, "{sort} `{name}`: ")?,
        }
        match what {
            What::Missing(item, name) => write!(f, "{right} lacks the {} `{name}`, which {left} has", item.name()),
            What::Added(item, name) => write!(f, "{right} has the {} `{name}`, which {left} lacks", item.name()),
            What::Renamed(item, old, new) => {
                write!(f, "the {} that {left} calls `{old}` is `{new}` in {right}", item.name())
            }
            What::Moved(item, old, new) => {
                write!(f, "the {}s are in another order: {left} has {old}, {right} has {new}", item.name())
            }
            What::Changed(of, old, new) => write!(f, "{of} is `{old}` in {left} and `{new}` in {right}"),
        }
    }
}

/// Which of the two sides is newer, judged by what they have.
pub fn newer(differences: &[Difference]) -> Newer {
    if differences.is_empty() {
        return Newer::Neither;
    }
    if differences.iter().all(|difference| matches!(difference.what, What::Missing(..))) {
        return Newer::Left;
    }
    if differences.iter().all(|difference| matches!(difference.what, What::Added(..))) {
        return Newer::Right;
    }
    Newer::Neither
}

/// Compares everything, each difference once. With `linked` a function whose types are the same passes whatever its parameters are
/// called: nothing is linked by those names.
pub fn compare(left: &Interface, right: &Interface, linked: bool) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    for (name, of) in &left.functions {
        match right.functions.get(name) {
            None => found.push(Place::Interface, What::Missing(Item::Function, name.clone())),
            Some(other) if linked && same_types(of, other) => {}
            Some(other) => found.function(name, of, other),
        }
    }
    for name in right.functions.keys().filter(|name| !left.functions.contains_key(*name)) {
        found.push(Place::Interface, What::Added(Item::Function, name.clone()));
    }
    for (name, of) in &left.types {
        match right.types.get(name) {
            None => found.push(Place::Interface, What::Missing(Item::Type, name.clone())),
            Some(other) => found.slot(&Place::Interface, || format!("the type `{name}`"), of, other),
        }
    }
    for name in right.types.keys().filter(|name| !left.types.contains_key(*name)) {
        found.push(Place::Interface, What::Added(Item::Type, name.clone()));
    }
    found.0
}

fn same_types(left: &Function, right: &Function) -> bool {
    let params = left.params.iter().map(|(_, of)| of).zip(right.params.iter().map(|(_, of)| of));
    left.params.len() == right.params.len()
        && params.fold(true, |all, (left, right)| all && same(left, right))
        && same_if_any(left.result.as_ref(), right.result.as_ref())
}

fn same_if_any(left: Option<&Shape>, right: Option<&Shape>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => same(left, right),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether two types are one to those who link them: what named types are called does not matter, what their parts are called does.
fn same(left: &Shape, right: &Shape) -> bool {
    match (left, right) {
        (Shape::Plain(left), Shape::Plain(right)) | (Shape::Handle(_, left), Shape::Handle(_, right)) => left == right,
        (Shape::Other(left), Shape::Other(right)) => left == right,
        (Shape::List(left), Shape::List(right)) | (Shape::Option(left), Shape::Option(right)) => same(left, right),
        (Shape::Result(ok, err), Shape::Result(other_ok, other_err)) => {
            same_if_any(ok.as_deref(), other_ok.as_deref()) && same_if_any(err.as_deref(), other_err.as_deref())
        }
        (Shape::Tuple(left), Shape::Tuple(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Shape::Record(_, left), Shape::Record(_, right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((name, left), (other, right))| name == other && same(left, right))
        }
        (Shape::Variant(_, left), Shape::Variant(_, right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|((name, left), (other, right))| name == other && same_if_any(left.as_ref(), right.as_ref()))
        }
        (Shape::Enum(_, left), Shape::Enum(_, right)) | (Shape::Flags(_, left), Shape::Flags(_, right)) => {
            left == right
        }
        _ => false,
    }
}

/// A field, a case, a flag or a parameter, and its type if it has one.
type Member<'a> = (&'a str, Option<&'a Shape>);

struct Found(Vec<Difference>);

impl Found {
    /// A type is used in many places; its differences are told once.
    fn push(&mut self, place: Place, what: What) {
        let difference = Difference { place, what };
        if !self.0.contains(&difference) {
            self.0.push(difference);
        }
    }

    fn function(&mut self, name: &str, left: &Function, right: &Function) {
        let place = Place::Function(name.to_owned());
        self.members(&place, Item::Parameter, &with_types(&left.params), &with_types(&right.params));
        match (&left.result, &right.result) {
            (None, None) => {}
            (Some(left), Some(right)) => self.slot(&place, || "its result".to_owned(), left, right),
            (left, right) => {
                let shown = |of: &Option<Shape>| of.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
                self.push(place, What::Changed("its result".to_owned(), shown(left), shown(right)));
            }
        }
    }

    /// Two types at one place: what differs is told at the named type that it is a part of, or here.
    fn slot(&mut self, place: &Place, of: impl Fn() -> String, left: &Shape, right: &Shape) {
        if !self.descend(left, right) {
            self.push(place.clone(), What::Changed(of(), left.to_string(), right.to_string()));
        }
    }

    /// Whether whatever differs was told at a named type below.
    fn descend(&mut self, left: &Shape, right: &Shape) -> bool {
        match (left, right) {
            (Shape::List(left), Shape::List(right)) | (Shape::Option(left), Shape::Option(right)) => {
                self.descend(left, right)
            }
            (Shape::Result(ok, err), Shape::Result(other_ok, other_err)) => {
                // Both are looked at, whatever the first says.
                let ok = self.descend_if_any(ok.as_deref(), other_ok.as_deref());
                let err = self.descend_if_any(err.as_deref(), other_err.as_deref());
                ok && err
            }
            (Shape::Tuple(left), Shape::Tuple(right)) if left.len() == right.len() => {
                left.iter().zip(right).fold(true, |told, (left, right)| self.descend(left, right) && told)
            }
            (Shape::Record(Some(name), left), Shape::Record(other, right)) => {
                self.parts("record", (name, other.as_deref()), Item::Field, &with_types(left), &with_types(right))
            }
            (Shape::Variant(Some(name), left), Shape::Variant(other, right)) => {
                self.parts("variant", (name, other.as_deref()), Item::Case, &with_payloads(left), &with_payloads(right))
            }
            (Shape::Enum(Some(name), left), Shape::Enum(other, right)) => {
                self.parts("enum", (name, other.as_deref()), Item::Case, &plain(left), &plain(right))
            }
            (Shape::Flags(Some(name), left), Shape::Flags(other, right)) => {
                self.parts("flags", (name, other.as_deref()), Item::Flag, &plain(left), &plain(right))
            }
            _ => same(left, right),
        }
    }

    fn descend_if_any(&mut self, left: Option<&Shape>, right: Option<&Shape>) -> bool {
        match (left, right) {
            (None, None) => true,
            (Some(left), Some(right)) => self.descend(left, right),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Two types of different names, or of which one has none, that have no part in common are not one that has changed, but two.
    fn parts(
        &mut self,
        sort: &str,
        (name, other): (&str, Option<&str>),
        item: Item,
        left: &[Member<'_>],
        right: &[Member<'_>],
    ) -> bool {
        let shared = other == Some(name) || left.iter().any(|(name, _)| right.iter().any(|(other, _)| name == other));
        if shared {
            self.members(&Place::Type(sort.to_owned(), name.to_owned()), item, left, right);
        }
        shared || left.len() + right.len() == 0
    }

    fn members(&mut self, place: &Place, item: Item, left: &[Member<'_>], right: &[Member<'_>]) {
        let of = |side: &[Member<'_>], name: &str| side.iter().position(|(other, _)| *other == name);
        let renamed = |at: usize| {
            let (old, new) = (left.get(at)?, right.get(at)?);
            let fresh = of(left, new.0).is_none() && of(right, old.0).is_none();
            (fresh && same_if_any(old.1, new.1)).then_some(new.0)
        };
        for (at, (name, shape)) in left.iter().enumerate() {
            if let Some(other) = of(right, name) {
                match (shape, right[other].1) {
                    (None, None) => {}
                    (Some(left), Some(right)) => {
                        self.slot(place, || format!("the {} `{name}`", item.name()), left, right);
                    }
                    (left, right) => {
                        let shown = |of: Option<&Shape>| of.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                        let of = format!("what the {} `{name}` carries", item.name());
                        self.push(place.clone(), What::Changed(of, shown(*left), shown(right)));
                    }
                }
            } else if let Some(new) = renamed(at) {
                self.push(place.clone(), What::Renamed(item, (*name).to_owned(), new.to_owned()));
            } else {
                self.push(place.clone(), What::Missing(item, shown(item, name, *shape)));
            }
        }
        for (at, (name, shape)) in right.iter().enumerate() {
            if of(left, name).is_none() && renamed(at).is_none() {
                self.push(place.clone(), What::Added(item, shown(item, name, *shape)));
            }
        }
        let common = |side: &[Member<'_>], other: &[Member<'_>]| -> Vec<String> {
            side.iter().filter(|(name, _)| of(other, name).is_some()).map(|(name, _)| format!("`{name}`")).collect()
        };
        let (old, new) = (common(left, right), common(right, left));
        if old != new {
            self.push(place.clone(), What::Moved(item, old.join(", "), new.join(", ")));
        }
    }
}

/// `name: type`, or `name(type)` for a case.
fn shown(item: Item, name: &str, shape: Option<&Shape>) -> String {
    match shape {
        None => name.to_owned(),
        Some(shape) if item == Item::Case => format!("{name}({shape})"),
        Some(shape) => format!("{name}: {shape}"),
    }
}

fn with_types(members: &[(String, Shape)]) -> Vec<Member<'_>> {
    members.iter().map(|(name, shape)| (name.as_str(), Some(shape))).collect()
}

fn with_payloads(members: &[(String, Option<Shape>)]) -> Vec<Member<'_>> {
    members.iter().map(|(name, shape)| (name.as_str(), shape.as_ref())).collect()
}

fn plain(members: &[String]) -> Vec<Member<'_>> {
    members.iter().map(|name| (name.as_str(), None)).collect()
}

#[cfg(test)]
mod tests;
