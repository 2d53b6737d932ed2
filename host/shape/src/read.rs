//! Interfaces of WIT text, and of a component type that was encoded from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use semver::Version;
use wit_parser::{Handle, Interface as WitInterface, Resolve, Type, TypeDefKind, TypeId};

use crate::{Function, Interface, Name, Shape};

/// WIT that is not understood; the text says where and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(String);

/// A package's name, such as `taskhost:host`, and its version.
pub type PackageName = (String, Version);

/// Everything that some packages define.
#[derive(Clone, Debug, Default)]
pub struct Contract {
    /// By their ids, such as `taskhost:host/log@0.1.0`.
    pub interfaces: BTreeMap<String, Interface>,
    /// By their ids, such as `taskhost:plugin/executor-plugin@0.1.0`.
    pub worlds: BTreeMap<String, World>,
    /// The packages; those without a version are left out.
    pub packages: BTreeSet<PackageName>,
}

/// What a world names, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// What the guest may call.
    pub imports: BTreeSet<String>,
    /// What the guest has to have.
    pub exports: BTreeSet<String>,
}

impl Contract {
    /// Reads a folder: a package at its top, and those that it depends on below `deps`.
    pub fn of_folder(dir: &Path) -> Result<Self, ReadError> {
        let mut resolve = Resolve::default();
        resolve.push_dir(dir).map_err(|error| ReadError(format!("{error:#}")))?;
        Ok(Self::of(&resolve))
    }

    /// Reads one text, which has one package.
    pub fn of_text(text: &str) -> Result<Self, ReadError> {
        let mut resolve = Resolve::default();
        resolve.push_str("text.wit", text).map_err(|error| ReadError(format!("{error:#}")))?;
        Ok(Self::of(&resolve))
    }

    /// Reads a world that was encoded in binary, as generated bindings have it.
    pub fn of_component_type(bytes: &[u8]) -> Result<Self, ReadError> {
        let decoded = wit_parser::decoding::decode_world(bytes).map_err(|error| ReadError(format!("{error:#}")))?;
        Ok(Self::of(&decoded.0))
    }

    fn of(resolve: &Resolve) -> Self {
        let interfaces = resolve
            .interfaces
            .iter()
            .filter_map(|(id, of)| Some((resolve.id_of(id)?, interface(resolve, of))))
            .collect();
        let worlds = resolve.worlds.iter().filter_map(|(_, world)| {
            let id = resolve.id_of_name(world.package?, &world.name);
            let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
            let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
            Some((id, World { imports, exports }))
        });
        let packages = resolve.packages.iter().filter_map(|(_, package)| {
            let name = &package.name;
            Some((format!("{}:{}", name.namespace, name.name), name.version.clone()?))
        });
        Self { interfaces, worlds: worlds.collect(), packages: packages.collect() }
    }
}

fn interface(resolve: &Resolve, of: &WitInterface) -> Interface {
    let functions = of.functions.iter().map(|(name, function)| {
        let params = function.params.iter().map(|param| (param.name.clone(), shape(resolve, &param.ty)));
        let function = Function {
            params: params.collect(),
            result: function.result.as_ref().map(|result| shape(resolve, result)),
        };
        (name.clone(), function)
    });
    let types = of.types.iter().map(|(name, id)| (name.clone(), named(resolve, *id)));
    Interface { functions: functions.collect(), types: types.filter(|(_, shape)| shape.name().is_some()).collect() }
}

/// WIT has no types that contain themselves, so this comes to an end.
fn shape(resolve: &Resolve, of: &Type) -> Shape {
    Shape::Plain(match of {
        Type::Id(id) => return named(resolve, *id),
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
    })
}

fn named(resolve: &Resolve, id: TypeId) -> Shape {
    let of = &resolve.types[id];
    let name: Name = of.name.clone();
    let boxed = |of: &Type| Box::new(shape(resolve, of));
    match &of.kind {
        TypeDefKind::Type(of) => shape(resolve, of),
        TypeDefKind::List(of) => Shape::List(boxed(of)),
        TypeDefKind::Option(of) => Shape::Option(boxed(of)),
        TypeDefKind::Result(of) => Shape::Result(of.ok.as_ref().map(boxed), of.err.as_ref().map(boxed)),
        TypeDefKind::Tuple(of) => Shape::Tuple(of.types.iter().map(|of| shape(resolve, of)).collect()),
        TypeDefKind::Record(of) => {
            Shape::Record(name, of.fields.iter().map(|of| (of.name.clone(), shape(resolve, &of.ty))).collect())
        }
        TypeDefKind::Variant(of) => {
            let case = |of: &wit_parser::Case| (of.name.clone(), of.ty.as_ref().map(|of| shape(resolve, of)));
            Shape::Variant(name, of.cases.iter().map(case).collect())
        }
        TypeDefKind::Enum(of) => Shape::Enum(name, of.cases.iter().map(|of| of.name.clone()).collect()),
        TypeDefKind::Flags(of) => Shape::Flags(name, of.flags.iter().map(|of| of.name.clone()).collect()),
        TypeDefKind::Resource => Shape::Handle(name, "resource"),
        TypeDefKind::Handle(Handle::Own(id)) => Shape::Handle(resolve.types[*id].name.clone(), "own"),
        TypeDefKind::Handle(Handle::Borrow(id)) => Shape::Handle(resolve.types[*id].name.clone(), "borrow"),
        TypeDefKind::Map(..) => Shape::Other("map".to_owned()),
        TypeDefKind::FixedLengthList(of, length) => Shape::Other(format!("list<{}, {length}>", shape(resolve, of))),
        TypeDefKind::Future(_) => Shape::Other("future".to_owned()),
        TypeDefKind::Stream(_) => Shape::Other("stream".to_owned()),
        TypeDefKind::Unknown => Shape::Other("unknown".to_owned()),
    }
}
