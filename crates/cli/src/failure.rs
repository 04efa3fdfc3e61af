use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use paligemma_engine::{EngineError, ErrorKind, FolderStore};

/// Why a command ends early: one sentence, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Failure {
    sentence: String,
    mendable: bool,
}

impl Failure {
    /// Something about the input that the caller can mend.
    pub(crate) fn mendable(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            mendable: true,
        }
    }

    /// Anything else.
    pub(crate) fn other(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            mendable: false,
        }
    }

    /// An engine's error about `input`.
    pub(crate) fn about(input: &Path, error: &EngineError) -> Self {
        Self {
            sentence: format!("{}: {error}", input.display()),
            mendable: matches!(
                error.kind(),
                ErrorKind::Picture
                    | ErrorKind::Source
                    | ErrorKind::Damaged
                    | ErrorKind::Checkpoint
                    | ErrorKind::Prompt
            ),
        }
    }

    /// Says it on stderr and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // If even stderr is gone, the exit code still tells.
        let _ = writeln!(std::io::stderr(), "paligemma: {}", self.sentence);
        ExitCode::from(if self.mendable { 2 } else { 1 })
    }
}

/// Refuses a folder whose conversion was cut: what a checkpoint's reader misses in it would name
/// the wrong next step.
pub(crate) fn whole(model: &Path) -> Result<(), Failure> {
    match FolderStore::new(model).is_unfinished() {
        false => Ok(()),
        true => Err(Failure::mendable(format!(
            "{0}: the conversion was not finished: run `paligemma convert … --out {0}` again, with \
             the same options, and it goes on",
            model.display()
        ))),
    }
}

/// Says something on stderr that is no failure.
pub(crate) fn remark(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "paligemma: {sentence}");
}

/// Writes to stdout; a reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::other(
            format!("the answer could not be written ({error}); check where the output goes"),
        )),
        _ => Ok(()),
    }
}
