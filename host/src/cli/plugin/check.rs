//! `taskhost plugin check`

use std::fmt::{self, Display};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Apart, Listed, announce, failed, list, signer, signer_json};
use crate::cli::{ConfigFile, Exit, print};
use crate::plugin::check::{CheckReport, check_file};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The component; its manifest is the file beside it with the extension `toml`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prints JSON: `ok`, and what was found or what is wrong (`mistakes`)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Checks a component as a server with this configuration would on load.
pub(in crate::cli) fn check(arguments: Arguments) -> Exit {
    let Arguments { file, json, config } = arguments;
    let apart = match Apart::new(config) {
        Ok(apart) => apart,
        Err(exit) => return exit,
    };
    if !json {
        announce(&file);
    }
    match apart.block_on(async |settings| check_file(settings, &file).await) {
        Ok(Ok(report)) if json => {
            print(&format!("{:#}\n", as_json(&report)));
            Exit::Done
        }
        Ok(Ok(report)) => {
            print(&Shown(&report).to_string());
            Exit::Done
        }
        Ok(Err(mistakes)) if json => {
            print(&format!("{:#}\n", json!({"ok": false, "mistakes": mistakes})));
            Exit::Failed
        }
        Ok(Err(mistakes)) => {
            let lines = mistakes.iter().map(|mistake| format!("\n  {mistake}"));
            failed(&format!("{} would not be loaded{}", file.display(), lines.collect::<String>()))
        }
        Err(exit) => exit,
    }
}

fn as_json(report: &CheckReport) -> Value {
    let CheckReport { name, size_bytes, info, imports, unused_grants } = report;
    let schema = |text: &Option<String>| -> Value {
        text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    };
    let kinds: Vec<_> = info
        .kinds
        .iter()
        .map(|kind| {
            json!({
                "name": kind.name, "summary": kind.summary,
                "input_schema": schema(&kind.input_schema), "output_schema": schema(&kind.output_schema),
            })
        })
        .collect();
    let imports: Vec<_> =
        imports.iter().map(|(name, capability)| json!({"name": name, "capability": capability})).collect();
    json!({
        "ok": true, "name": name, "version": info.version, "summary": info.summary,
        "sha256": info.digest.to_string(), "size_bytes": size_bytes, "signature": signer_json(info.signed.as_ref()),
        "roles": info.roles, "kinds": kinds, "imports": imports,
        "grants": info.grants, "unused_grants": unused_grants, "effective": info.effective.to_json(),
    })
}

/// A report for people.
struct Shown<'a>(&'a CheckReport);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { name, size_bytes, info, imports, unused_grants } = self.0;
        writeln!(f, "{name} {} would be loaded", info.version)?;
        writeln!(f, "  {}", info.summary)?;
        writeln!(f, "sha256   {}", info.digest)?;
        writeln!(f, "size     {size_bytes} bytes")?;
        writeln!(f, "signed   {}", signer(info.signed.as_ref()))?;
        writeln!(f, "roles    {}", info.roles.join(", "))?;
        for kind in &info.kinds {
            writeln!(f, "kind     {}: {}", kind.name, kind.summary)?;
        }
        writeln!(f, "grants   {}", list(&info.grants))?;
        for (import, capability) in imports {
            let granted = capability.map(|capability| format!(" (granted: {capability})"));
            writeln!(f, "imports  {import}{}", granted.unwrap_or_default())?;
        }
        if !unused_grants.is_empty() {
            writeln!(f, "unused   granted but not imported: {}", unused_grants.join(", "))?;
        }
        write!(f, "{}", Listed(&info.effective))
    }
}
