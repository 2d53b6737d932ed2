//! `taskhost:exec/command`: programs that the operator has named.

use std::sync::Arc;

use super::DESCRIBING;
use super::steer::CutShort;
use crate::plugin::command::CommandGrant;
use crate::plugin::contract::clip;
use crate::plugin::contract::command::{Error, Host, Output};
use crate::plugin::guest::Guest;
use crate::plugin::link::Code;
use crate::plugin::ports::{CommandError, CommandOutput, CommandRun};

impl Code {
    /// The command of this name, or which line would grant it.
    fn command(&self, name: &str) -> Result<&CommandGrant, Error> {
        self.grants.command.get(name).ok_or_else(|| {
            let (plugin, shown) = (&self.name, clip(name));
            let known: Vec<_> = self.grants.command.keys().map(String::as_str).collect();
            let remedy = format!("write [grant.command.{shown}] with its `program` in plugins/{plugin}.toml");
            Error::UnknownCommand(format!(
                "plugin {plugin:?} has no command {shown:?}, only {}: {remedy}",
                known.join(", ")
            ))
        })
    }

    /// The arguments are not those that the operator has allowed.
    fn misfit(&self, name: &str, why: &str) -> Error {
        let place = format!("`arguments` under [grant.command.{name}] in plugins/{}.toml", self.name);
        Error::BadArgument(format!("{name}: {why}: {place} says what it takes"))
    }

    fn command_error(&self, name: &str, error: CommandError) -> Error {
        match error {
            CommandError::Changed { .. } => {
                let remedy = "restore the program, or update `sha256`";
                let section = format!("[grant.command.{name}] in plugins/{}.toml", self.name);
                Error::Denied(format!("{error}: {remedy} under {section}"))
            }
            CommandError::NoMedia(_) => Error::BadArgument(error.to_string()),
            CommandError::TimedOut(_) => Error::TimedOut,
            CommandError::Unavailable(why) => Error::Unavailable(why),
        }
    }
}

fn output(output: CommandOutput) -> Output {
    let CommandOutput { exit_code, signal, stdout, stderr, truncated } = output;
    Output { exit_code, signal, stdout, stderr, truncated }
}

impl Host for Guest {
    async fn run(
        &mut self,
        name: String,
        arguments: Vec<String>,
        stdin: Option<Vec<u8>>,
        timeout: Option<u64>,
    ) -> Result<Output, Error> {
        if self.describing() {
            return Err(Error::Denied(DESCRIBING.to_owned()));
        }
        let code = Arc::clone(&self.code);
        let grant = code.command(&name)?;
        let arguments = grant.fit(&name, arguments).map_err(|why| code.misfit(&name, &why))?;
        let stdin = stdin.unwrap_or_default();
        if stdin.len() as u64 > grant.stdin_bytes {
            let remedy = format!("`stdin_bytes` under [grant.command.{name}] in plugins/{}.toml", code.name);
            let bounds = format!("{} bytes of standard input, the limit is {}", stdin.len(), grant.stdin_bytes);
            return Err(Error::Limit(format!("{name}: {bounds}: {remedy} raises it")));
        }
        let book = Arc::clone(&self.call.book);
        // What the guest has begun to write is a line of its own.
        book.end_lines();
        let heard = Arc::clone(&book);
        let run = async {
            let held = code.shared.gate.enter(format!("{}/{name}", code.name), grant.jobs).await;
            let run = CommandRun {
                program: grant.program.clone(),
                sha256: grant.sha256,
                arguments,
                environment: grant.environment.clone().into_iter().collect(),
                directory: grant.directory.clone(),
                stdin,
                output_bytes: usize::try_from(grant.output_bytes).unwrap_or(usize::MAX),
                timeout_ms: timeout.map_or(grant.timeout_ms, |asked| asked.min(grant.timeout_ms)),
                bounds: grant.bounds,
                on_output: Arc::new(move |source, bytes| heard.output(source, bytes)),
                held: Box::new(held),
            };
            code.shared.ports.commands.run(run).await
        };
        let end = self.call.steered(run).await;
        book.end_lines();
        match end {
            Ok(Ok(done)) => Ok(output(done)),
            Ok(Err(error)) => Err(code.command_error(&name, error)),
            Err(CutShort::Cancelled) => Err(Error::Cancelled),
            Err(CutShort::TimedOut) => Err(Error::TimedOut),
        }
    }
}
