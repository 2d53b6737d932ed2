//! `taskhost plugin inspect`

use std::fmt::{self, Display};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Listed, failed, list, signer, signer_json};
use crate::cli::{ConfigFile, Exit, config, print};
use crate::config::Flags;
use crate::plugin::inspect::{Inspection, Memory, inspect_file};
use crate::plugin::manifest::Effective;
use crate::quantity::show_bytes;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Says what is in a component; nothing of it is compiled or run.
pub(in crate::cli) fn inspect(arguments: Arguments) -> Exit {
    let Arguments { file, json, config: from } = arguments;
    let loaded = config::load(from.config, Flags::default());
    let rules = loaded.and_then(|loaded| Ok((config::rules(&loaded.config)?, loaded.config.plugins)));
    let (rules, plugins) = match rules {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    match inspect_file(&rules, &file, plugins.max_component_bytes) {
        Ok(found) if json => {
            print(&format!("{:#}\n", as_json(&found)));
            Exit::Done
        }
        Ok(found) => {
            print(&Shown(&found).to_string());
            Exit::Done
        }
        Err(mistake) => failed(&format!("{}: {mistake}", file.display())),
    }
}

fn as_json(found: &Inspection) -> Value {
    let Inspection { name, digest, size_bytes, imports, exports, roles, contents, wit, signature, effective } = found;
    let imports: Vec<_> = imports
        .iter()
        .map(|import| json!({"name": import.name, "capability": import.capability, "granted": import.granted}))
        .collect();
    let sections = contents.sections.iter();
    let sections: Vec<_> =
        sections.map(|section| json!({"name": section.name, "count": section.count, "bytes": section.bytes})).collect();
    let memories = contents.memories.iter();
    let memories: Vec<_> = memories
        .map(|memory| json!({"minimum_bytes": memory.minimum_bytes, "maximum_bytes": memory.maximum_bytes}))
        .collect();
    let producers = contents.producers.iter();
    let producers: Vec<_> = producers
        .map(|producer| json!({"field": producer.field, "name": producer.name, "version": producer.version}))
        .collect();
    json!({
        "name": name, "sha256": digest.to_string(), "size_bytes": size_bytes, "roles": roles,
        "imports": imports, "exports": exports,
        "valid": contents.invalid.is_none(), "invalid": contents.invalid,
        "modules": contents.modules, "components": contents.components, "functions": contents.functions,
        "memories": memories, "table_elements": contents.table_elements, "sections": sections, "producers": producers,
        "languages": languages(found),
        "signature": signature.as_ref().map_or(Value::Null, |signed| signer_json(signed.as_ref())),
        "signature_error": signature.as_ref().err(),
        "effective": effective.as_ref().ok().map(Effective::to_json),
        "manifest_mistakes": effective.as_ref().err().map(|mistakes| mistakes.lines().collect::<Vec<_>>()),
        "wit": wit.as_ref().ok(), "wit_error": wit.as_ref().err(),
    })
}

/// What it was written in, by what its tools say.
fn languages(found: &Inspection) -> Vec<String> {
    let languages = found.contents.producers.iter().filter(|producer| producer.field == "language");
    languages.map(|language| format!("{} {}", language.name, language.version).trim().to_owned()).collect()
}

/// The contents for people.
struct Shown<'a>(&'a Inspection);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { name, digest, size_bytes, imports, exports, roles, contents, wit, signature, effective } =
            self.0;
        writeln!(f, "{name}")?;
        writeln!(f, "sha256    {digest}")?;
        writeln!(f, "size      {size_bytes} bytes")?;
        match signature {
            Ok(signed) => writeln!(f, "signed    {}", signer(signed.as_ref()))?,
            Err(mistake) => writeln!(f, "signed    not good: {mistake}")?,
        }
        match &contents.invalid {
            None => writeln!(f, "valid     yes")?,
            Some(reason) => writeln!(f, "valid     no: {reason}")?,
        }
        writeln!(f, "roles     {}", list(roles))?;
        writeln!(f, "languages {}", list(&languages(self.0)))?;
        for import in imports {
            let word = if import.granted { "granted" } else { "not granted" };
            let needs = import.capability.map(|capability| format!(" ({word}: {capability})"));
            writeln!(f, "imports   {}{}", import.name, needs.unwrap_or_default())?;
        }
        for export in exports {
            writeln!(f, "exports   {export}")?;
        }
        writeln!(
            f,
            "code      {} functions in {} core modules, {} nested components, {} table elements",
            contents.functions, contents.modules, contents.components, contents.table_elements
        )?;
        for Memory { minimum_bytes, maximum_bytes } in &contents.memories {
            let maximum = maximum_bytes.map_or_else(|| "no bound of its own".to_owned(), show_bytes);
            writeln!(f, "memory    {} at the start, at most: {maximum}", show_bytes(*minimum_bytes))?;
        }
        for producer in &contents.producers {
            writeln!(f, "made with {}: {} {}", producer.field, producer.name, producer.version)?;
        }
        for section in &contents.sections {
            writeln!(f, "section   {:>10} bytes in {:>3}: {}", section.bytes, section.count, section.name)?;
        }
        match effective {
            Ok(effective) => write!(f, "{}", Listed(effective))?,
            Err(mistakes) => mistakes.lines().try_for_each(|line| writeln!(f, "manifest  not good: {line}"))?,
        }
        match wit {
            Ok(wit) => write!(f, "\n{wit}"),
            Err(mistake) => writeln!(f, "\nits world cannot be told: {mistake}"),
        }
    }
}
