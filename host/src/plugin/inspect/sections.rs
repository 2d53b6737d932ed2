//! Walks over a component's sections, nested ones included.

use std::collections::BTreeMap;
use std::ops::Range;

use wasmparser::{
    ComponentExternName, KnownCustom, MemoryType, Parser, Payload, ProducersSectionReader, TableType, Validator,
};

/// Names that are told of one sort: a file of 64 MiB could have millions.
const MAX_NAMES: usize = 256;
/// Bytes of one name that are told.
const MAX_NAME_BYTES: usize = 256;

/// What a component is made of, all of its nested components and modules together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What is imported, at most 256.
    pub imports: Vec<String>,
    /// What is exported, at most 256.
    pub exports: Vec<String>,
    /// Sections by their names, those of the same name together; custom ones as `custom NAME`.
    pub sections: Vec<Section>,
    /// Core modules.
    pub modules: u64,
    /// Components below the outermost one.
    pub components: u64,
    /// Linear memories, in the order of the file, at most 256.
    pub memories: Vec<Memory>,
    /// Elements that tables have at the start, together.
    pub table_elements: u64,
    /// Functions with a body.
    pub functions: u64,
    /// What it was made with, by those who say so.
    pub producers: Vec<Producer>,
    /// Why the component is not valid, if it is not.
    pub invalid: Option<String>,
}

/// Sections of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What they hold.
    pub name: String,
    /// How many there are.
    pub count: u64,
    /// What they take together, in bytes.
    pub bytes: u64,
}

/// A linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// At the start, in bytes.
    pub minimum_bytes: u64,
    /// At most, in bytes, if it says so.
    pub maximum_bytes: Option<u64>,
}

/// A tool or a language.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub field: String,
    /// Its name.
    pub name: String,
    /// Its version, which may be empty.
    pub version: String,
}

#[derive(Default)]
struct Walk {
    contents: Contents,
    sections: BTreeMap<String, (u64, u64)>,
    depth: usize,
}

impl Contents {
    /// Walks over a binary component.
    pub(super) fn of(binary: &[u8]) -> Result<Self, String> {
        let mut walk = Walk::default();
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload.map_err(|error| format!("not a valid component: {error}"))?;
            walk.take(&payload).map_err(|error| format!("not a valid component: {error}"))?;
        }
        let Walk { mut contents, sections, .. } = walk;
        let section = |(name, (count, bytes))| Section { name, count, bytes };
        contents.sections = sections.into_iter().map(section).take(MAX_NAMES).collect();
        contents.sections.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        contents.producers.sort();
        contents.producers.dedup();
        contents.invalid = Validator::new().validate_all(binary).err().map(|error| error.to_string());
        Ok(contents)
    }
}

impl Walk {
    #[expect(clippy::wildcard_enum_match_arm, reason = "most sections tell no more than their size")]
    fn take(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        let contents = &mut self.contents;
        match payload {
            Payload::Version { .. } => self.depth += 1,
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::ModuleSection { .. } => contents.modules += 1,
            Payload::ComponentSection { .. } => contents.components += 1,
            Payload::ComponentImportSection(reader) if self.depth == 1 => {
                for import in reader.clone() {
                    note(&mut contents.imports, &import?.name);
                }
            }
            Payload::ComponentExportSection(reader) if self.depth == 1 => {
                for export in reader.clone() {
                    note(&mut contents.exports, &export?.name);
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader.clone().into_iter().take(MAX_NAMES - contents.memories.len()) {
                    contents.memories.push(Memory::of(memory?));
                }
            }
            Payload::TableSection(reader) => {
                for table in reader.clone() {
                    let TableType { initial, .. } = table?.ty;
                    contents.table_elements = contents.table_elements.saturating_add(initial);
                }
            }
            Payload::CodeSectionStart { count, .. } => contents.functions += u64::from(*count),
            _ => self.note_producers(payload),
        }
        if let Some((name, range)) = section(payload) {
            self.note_section(name, range);
        }
        Ok(())
    }

    fn note_section(&mut self, name: String, range: Range<usize>) {
        if self.sections.len() < MAX_NAMES || self.sections.contains_key(&name) {
            let (count, bytes) = self.sections.entry(name).or_default();
            *count += 1;
            *bytes += range.len() as u64;
        }
    }

    fn note_producers(&mut self, payload: &Payload<'_>) {
        if let Payload::CustomSection(section) = payload
            && let KnownCustom::Producers(producers) = section.as_known()
        {
            // A tool's note that is damaged is no reason to refuse the file.
            drop(self.producers(&producers));
        }
    }

    fn producers(&mut self, producers: &ProducersSectionReader<'_>) -> wasmparser::Result<()> {
        for field in producers.clone() {
            let field = field?;
            for value in field.values {
                let value = value?;
                if self.contents.producers.len() < MAX_NAMES {
                    let [field, name, version] = [field.name, value.name, value.version].map(clipped);
                    self.contents.producers.push(Producer { field, name, version });
                }
            }
        }
        Ok(())
    }
}

impl Memory {
    fn of(ty: MemoryType) -> Self {
        let page = 1_u64 << ty.page_size_log2.unwrap_or(16).min(16);
        let bytes = |pages: u64| pages.saturating_mul(page);
        Self { minimum_bytes: bytes(ty.initial), maximum_bytes: ty.maximum.map(bytes) }
    }
}

fn note(names: &mut Vec<String>, name: &ComponentExternName<'_>) {
    if names.len() < MAX_NAMES {
        names.push(clipped(name.name));
    }
}

/// What somebody else wrote, short and printable.
fn clipped(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_NAME_BYTES)];
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The name of a section that holds something itself, and where it is.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is nested is told by its own sections")]
fn section(payload: &Payload<'_>) -> Option<(String, Range<usize>)> {
    let name = match payload {
        Payload::CustomSection(reader) => return Some((format!("custom {}", clipped(reader.name())), reader.range())),
        Payload::TypeSection(_) | Payload::CoreTypeSection(_) | Payload::ComponentTypeSection(_) => "types",
        Payload::ImportSection(_) | Payload::ComponentImportSection(_) => "imports",
        Payload::ExportSection(_) | Payload::ComponentExportSection(_) => "exports",
        Payload::FunctionSection(_) => "functions",
        Payload::TableSection(_) => "tables",
        Payload::MemorySection(_) => "memories",
        Payload::GlobalSection(_) => "globals",
        Payload::ElementSection(_) => "elements",
        Payload::DataSection(_) => "data",
        Payload::CodeSectionStart { .. } => "code",
        Payload::InstanceSection(_) | Payload::ComponentInstanceSection(_) => "instances",
        Payload::ComponentAliasSection(_) => "aliases",
        Payload::ComponentCanonicalSection(_) => "canonical functions",
        _ => return None,
    };
    payload.as_section().map(|(_, range)| (name.to_owned(), range))
}
