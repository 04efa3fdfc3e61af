//! Building the page, and serving it on this machine.

use crate::places::Places;
use crate::setup::{self, Need, Tools};
use crate::shell::{self, run};
use crate::steps::{PAGE_PROFILE, PROFILE};
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the search for a free port starts, and how far it goes.
const PORTS: std::ops::Range<u16> = 8080..8180;

/// What a build of the page takes; no browser, since that is the visitor's.
const NEEDS: [Need; 5] = [
    Need::WasmTarget,
    Need::Trunk,
    Need::WasmBindgen,
    Need::Npm,
    Need::WasmOpt,
];

/// Builds the page as it is published, into `dist/`.
///
/// # Errors
/// When a tool cannot be installed or the page does not build.
pub(crate) fn build(places: &Places) -> Result<()> {
    let tools = prepare(places, &NEEDS)?;
    let dist = places.root.join("dist");
    run(trunk(places, &tools, "build", false)?
        .arg("--dist")
        .arg(&dist))?;
    println!("\nThe page is in {}", dist.display());
    Ok(())
}

/// Builds the page and serves it until the command is stopped.
///
/// # Errors
/// When a tool cannot be installed or no port is free. A page that does not
/// build is no error: trunk shows why, and builds again when a file is saved.
pub(crate) fn serve(places: &Places, port: Option<u16>, quick: bool) -> Result<()> {
    let needs: Vec<Need> = NEEDS
        .into_iter()
        .filter(|need| !(quick && [Need::Npm, Need::WasmOpt].contains(need)))
        .collect();
    let tools = prepare(places, &needs)?;
    let port = choose_port(port)?;
    // Apart from `build`'s folder, whose contents somebody may be about to publish.
    let dist = places.artifacts.join("served");
    if dist.exists() {
        // A page from before must not pass for this one, should this one not build.
        std::fs::remove_dir_all(&dist)
            .with_context(|| format!("cannot remove {}", dist.display()))?;
    }
    std::fs::create_dir_all(&places.artifacts)
        .with_context(|| format!("cannot create {}", places.artifacts.display()))?;
    println!("Building the page, then serving it at {}", url(port));
    let mut command = trunk(places, &tools, "serve", quick)?;
    command
        .args(["--address", "127.0.0.1", "--port", &port.to_string()])
        .args(["--disable-address-lookup", "true", "--dist"])
        .arg(&dist);
    let announcement = Announcement {
        port,
        dist,
        server: std::process::id(),
    };
    announcement.spawn()?;
    become_server(command)
}

fn prepare(places: &Places, needs: &[Need]) -> Result<Tools> {
    let tools = setup::prepare(places, needs)?;
    // trunk works offline, with the crates that are here.
    run(shell::cargo(places).args(["fetch", "--locked", "--quiet"]))?;
    Ok(tools)
}

fn trunk(places: &Places, tools: &Tools, subcommand: &str, quick: bool) -> Result<Command> {
    let mut command = tools.trunk(places)?;
    command.args([subcommand, "--locked", "--skip-version-check"]);
    if quick {
        command.args(["--cargo-profile", PROFILE]);
    } else {
        command.args(PAGE_PROFILE);
    }
    Ok(command)
}

/// The port that was asked for, or the first free one.
fn choose_port(asked: Option<u16>) -> Result<u16> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    match asked {
        Some(port) if free(&port) => Ok(port),
        Some(port) => {
            bail!("port {port} is in use: stop what uses it, name another, or leave out --port")
        }
        None => PORTS.clone().find(free).with_context(|| {
            format!(
                "no free port from {} to {}: name one with --port",
                PORTS.start,
                PORTS.end - 1
            )
        }),
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

/// Replaces this process by the server, so that whoever stops the command stops
/// the server, by whatever signal.
#[cfg(unix)]
fn become_server(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).with_context(|| format!("cannot start `{}`", shell::display(&command)))
}

#[cfg(not(unix))]
fn become_server(mut command: Command) -> Result<()> {
    run(&mut command)
}

/// Says when the page is up. As this process becomes the server, another one
/// has to watch it: `cargo xtask announce PORT SERVER DIST`.
#[derive(Debug, PartialEq)]
pub(crate) struct Announcement {
    port: u16,
    /// The server's process; without it there is nothing left to wait for.
    server: u32,
    dist: PathBuf,
}

impl Announcement {
    /// Reads back what [`Self::spawn`] passes on.
    pub(crate) fn from_args(args: &[String]) -> Result<Self, String> {
        let read = || match args {
            [port, server, dist] => Some(Self {
                port: port.parse().ok()?,
                server: server.parse().ok()?,
                dist: dist.into(),
            }),
            _ => None,
        };
        read().ok_or_else(|| "`announce` is what `serve` runs for itself.".to_owned())
    }

    fn spawn(&self) -> Result<()> {
        let program = std::env::current_exe().context("cannot find xtask's own program")?;
        Command::new(program)
            .arg("announce")
            .args([self.port.to_string(), self.server.to_string()])
            .arg(&self.dist)
            .stdin(Stdio::null())
            .spawn()
            .map(drop)
            .context("cannot start xtask a second time")
    }

    fn server_is_gone(&self) -> bool {
        #[cfg(unix)]
        let gone = std::os::unix::process::parent_id() != self.server;
        #[cfg(not(unix))]
        let gone = false;
        gone
    }
}

/// Waits for the server and prints where the page is.
pub(crate) fn announce(announcement: &Announcement) {
    // trunk opens the port when the first build has ended, well or badly.
    while TcpStream::connect((Ipv4Addr::LOCALHOST, announcement.port)).is_err() {
        if announcement.server_is_gone() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("\n{}\n", verdict(announcement.port, &announcement.dist));
}

fn verdict(port: u16, dist: &Path) -> String {
    if dist.join("index.html").is_file() {
        format!(
            "The page is up: {}\nOpen it in a browser with WebGPU; Ctrl-C stops it.",
            url(port)
        )
    } else {
        "The page did not build; trunk says why above. It builds again when a file is saved."
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over_unless_it_was_asked_for() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = choose_port(Some(port)).expect_err("it is taken");
        assert!(error.to_string().contains(&port.to_string()));
        let chosen = choose_port(None).unwrap();
        assert!(PORTS.contains(&chosen) && chosen != port);
    }

    #[test]
    fn an_announcement_survives_the_command_line() {
        let args = ["8080", "17", "some dir/dist"].map(str::to_owned);
        let expected = Announcement {
            port: 8080,
            server: 17,
            dist: "some dir/dist".into(),
        };
        assert_eq!(Announcement::from_args(&args), Ok(expected));
        assert!(Announcement::from_args(&args[..2]).is_err());
    }

    #[test]
    fn a_page_that_did_not_build_is_not_announced() {
        let dist = std::env::temp_dir().join(format!("xtask-serve-{}", std::process::id()));
        assert!(verdict(8080, &dist).contains("did not build"));
        std::fs::create_dir_all(&dist).unwrap();
        std::fs::write(dist.join("index.html"), "").unwrap();
        assert!(verdict(8080, &dist).contains("http://127.0.0.1:8080/"));
        std::fs::remove_dir_all(&dist).unwrap();
    }
}
