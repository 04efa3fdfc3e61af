//! Running other programs: announced before, checked after.

use crate::places::Places;
use crate::report::Tally;
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// npm's name: a script on Windows, where only `.exe` may go without its ending.
pub(crate) const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

/// A command that runs in the root of the repository and compiles into the
/// shared target folder.
pub(crate) fn command(places: &Places, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(&places.root)
        .env("CARGO_TARGET_DIR", &places.target);
    // `cargo run` describes xtask itself in these; a build below must not see them.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name_text.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The cargo that started us, so that a chosen toolchain stays chosen.
pub(crate) fn cargo(places: &Places) -> Command {
    command(
        places,
        env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
    )
}

/// Puts folders in front of the `PATH` that the command sees.
///
/// # Errors
/// When a folder's name cannot be part of a `PATH`.
pub(crate) fn put_on_path(command: &mut Command, folders: &[impl AsRef<Path>]) -> Result<()> {
    let present = env::var_os("PATH").unwrap_or_default();
    let all = folders
        .iter()
        .map(|folder| folder.as_ref().to_path_buf())
        .chain(env::split_paths(&present));
    let path = env::join_paths(all).context("a tool's folder cannot be put on PATH")?;
    command.env("PATH", path);
    Ok(())
}

/// The command as a person would type it.
pub(crate) fn display(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_stem().unwrap_or(program.as_os_str());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Prints the command, runs it, and fails when it does.
///
/// # Errors
/// When the program cannot be started or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = announce(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// As [`run`], and counts the tests in what the command prints.
///
/// # Errors
/// As [`run`]; also when not one test ran, since then nothing was checked.
pub(crate) fn run_tests(command: &mut Command) -> Result<Tally> {
    let line = announce(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for bytes in BufReader::new(stdout).split(b'\n') {
            let bytes = bytes.with_context(|| format!("cannot read from `{line}`"))?;
            let text = String::from_utf8_lossy(&bytes);
            println!("{text}");
            tally.read(&text);
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status} ({tally})");
    }
    if tally.passed == 0 {
        bail!("`{line}` ran no test at all, which proves nothing");
    }
    Ok(tally)
}

fn announce(command: &Command) -> String {
    let line = display(command);
    println!("$ {line}");
    line
}

/// What a program prints when asked, or nothing when it cannot be asked.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(&mut shell("exit 3")).expect_err("exit 3");
        assert!(error.to_string().contains("sh -c exit 3"), "{error}");
    }

    #[test]
    fn tests_are_counted_and_their_absence_is_a_failure() {
        let some = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        assert_eq!(run_tests(&mut shell(some)).unwrap().passed, 2);
        let none = "echo 'test result: ok. 0 passed; 0 failed; 0 ignored'";
        assert!(run_tests(&mut shell(none)).is_err());
        assert!(run_tests(&mut shell(&format!("{some}; exit 1"))).is_err());
    }

    #[test]
    fn only_an_answer_of_success_counts() {
        assert_eq!(ask(&mut shell("echo yes")).as_deref(), Some("yes\n"));
        assert_eq!(ask(&mut shell("echo yes; exit 1")), None);
        assert_eq!(ask(&mut Command::new("no such program")), None);
    }
}
