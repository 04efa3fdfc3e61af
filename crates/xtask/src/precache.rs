//! The list of the files that the page's service worker keeps: the page itself, never a model.

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The service worker, in the root of the built page. It does not keep itself: the browser does.
const WORKER: &str = "sw.js";
/// How the line of the service worker begins that holds the list.
const LINE: &str = "const SHELL = ";
/// Models; each file of one is small or large, and is kept elsewhere or not at all.
const MODELS: [&str; 1] = ["demo/model/"];
/// Endings of files without which the page does not look or work as it should.
const KEPT: [&str; 9] = [
    "css",
    "html",
    "js",
    "json",
    "png",
    "svg",
    "txt",
    "wasm",
    "webmanifest",
];
/// Endings of files that the page never asks for, and of weights wherever they lie.
const LEFT_OUT: [&str; 4] = ["bin", "md", "safetensors", "ts"];

/// A file that the service worker keeps.
struct Kept {
    /// Its address, relative to the page's own.
    address: String,
    /// Its SHA-256, as `integrity` attributes have it.
    integrity: String,
}

/// Writes the list of a built page's files into its service worker: `folder`, or the one that
/// trunk is building, which it names to its hooks. Doing it again after a change is right.
///
/// # Errors
/// When there is no built page in the folder, or a file of it of which nobody has said whether it
/// is to be kept.
pub(crate) fn write(folder: Option<PathBuf>) -> Result<()> {
    let folder = folder
        .or_else(|| std::env::var_os("TRUNK_STAGING_DIR").map(PathBuf::from))
        .context("`precache` needs the folder of a built page: name it, or let trunk run it")?;
    let path = folder.join(WORKER);
    let worker = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let files = files(&folder)?;
    let (worker, version) = with_list(&worker, &files)?;
    std::fs::write(&path, worker).with_context(|| format!("cannot write {}", path.display()))?;
    println!(
        "Kept for times without a network: {} files, version {version}",
        files.len()
    );
    Ok(())
}

/// The files to keep, in a fixed order.
fn files(folder: &Path) -> Result<Vec<Kept>> {
    let mut names = Vec::new();
    collect(folder, "", &mut names)?;
    names.sort_unstable();
    let mut files = Vec::new();
    for name in names {
        if !is_kept(&name)? {
            continue;
        }
        let path = folder.join(&name);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.push(Kept {
            // Some hosts redirect `index.html` to its folder, and a redirected answer must not
            // be given to a navigation.
            address: if name == "index.html" {
                "./".to_owned()
            } else {
                name
            },
            integrity: format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(&bytes))),
        });
    }
    ensure!(
        files.iter().any(|file| file.address == "./"),
        "{} holds no index.html: build the page first",
        folder.display()
    );
    Ok(files)
}

/// The names of all files in a folder and below it, relative and with slashes, behind `prefix`.
/// Hidden ones are nobody's business but their makers'.
fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    let unreadable = || format!("cannot list {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), names)?;
        } else {
            names.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

/// Whether a file belongs to the page itself.
fn is_kept(name: &str) -> Result<bool> {
    if name == WORKER || MODELS.iter().any(|folder| name.starts_with(folder)) {
        return Ok(false);
    }
    let ending = Path::new(name).extension().and_then(|it| it.to_str());
    let is_in = |endings: &[&str]| ending.is_some_and(|ending| endings.contains(&ending));
    if is_in(&LEFT_OUT) {
        return Ok(false);
    }
    if !is_in(&KEPT) {
        bail!(
            "the built page holds {name}, and nothing says whether it is needed without a network: \
             add its ending to one of the lists in crates/xtask/src/precache.rs"
        );
    }
    // It becomes part of an address and of a script.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    ensure!(
        name.chars().all(is_plain),
        "the built page holds {name:?}: rename it to letters, digits, `.`, `_` and `-`"
    );
    Ok(true)
}

/// The service worker with the list in it, and the list's version: a hash of all that the
/// service worker consists of.
fn with_list(worker: &str, files: &[Kept]) -> Result<(String, String)> {
    let is_list = |line: &&str| line.starts_with(LINE);
    ensure!(
        worker.lines().filter(is_list).count() == 1,
        "{WORKER} has no line, or more than one, that begins with `{LINE}`: the list of the page's \
         files goes there"
    );
    let files: Vec<String> = files
        .iter()
        .map(|file| format!("[\"{}\",\"{}\"]", file.address, file.integrity))
        .collect();
    let files = files.join(",");
    let with = |version: &str| {
        let list = format!("{LINE}{{ version: \"{version}\", files: [{files}] }};");
        let lines = worker
            .lines()
            .map(|line| if is_list(&line) { &list } else { line });
        lines.flat_map(|line| [line, "\n"]).collect::<String>()
    };
    let hash = Sha256::digest(with("").as_bytes());
    let version: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
    Ok((with(&version), version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: [(&str, &str); 12] = [
        ("index.html", "<h1>"),
        ("start.js", "start()"),
        ("sw.js", "a\nconst SHELL = {};\nb\n"),
        ("app-0123abcd_bg.wasm", "\0asm page"),
        ("worker_bg.wasm", "\0asm worker"),
        ("manifest.webmanifest", "{}"),
        ("demo/README.md", "# Demo"),
        ("demo/model/config.json", "{}"),
        ("demo/model/model.safetensors", "weights"),
        ("demo/samples/scene00.json", "{}"),
        ("elsewhere/pieces.bin", "weights"),
        (".stage/half-built.js", "x"),
    ];

    fn page() -> tempfolder::Folder {
        let folder = tempfolder::Folder::new();
        for (name, text) in PAGE {
            folder.write(name, text);
        }
        folder
    }

    /// The service worker after its list was written.
    fn written(folder: &tempfolder::Folder) -> String {
        write(Some(folder.path.clone())).unwrap();
        std::fs::read_to_string(folder.path.join(WORKER)).unwrap()
    }

    #[test]
    fn the_page_is_kept_and_weights_are_not() {
        let page = page();
        let kept: Vec<String> = files(&page.path)
            .unwrap()
            .into_iter()
            .map(|file| file.address)
            .collect();
        let expected = [
            "app-0123abcd_bg.wasm",
            "demo/samples/scene00.json",
            "./",
            "manifest.webmanifest",
            "start.js",
            "worker_bg.wasm",
        ];
        assert_eq!(kept, expected);
    }

    #[test]
    fn the_list_is_one_line_of_the_service_worker() {
        let page = page();
        let worker = written(&page);
        let lines: Vec<&str> = worker.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "a", "b"));
        // `printf '<h1>' | openssl dgst -sha256 -binary | base64`
        let index = r#"["./","sha256-Dzts6KPKpSA5sdedO9xd4B7/ZDPSjLXxN/jme5pXqnU="]"#;
        assert!(lines[1].contains(index), "{worker}");
    }

    #[test]
    fn the_version_follows_the_bytes_and_nothing_else() {
        let (page, other) = (page(), page());
        let first = written(&page);
        assert_eq!(written(&page), first, "written twice");
        assert_eq!(written(&other), first, "the same page elsewhere");

        page.write("demo/model/model.safetensors", "other weights");
        assert_eq!(written(&page), first, "no part of the page");

        page.write("worker_bg.wasm", "\0asm worker.");
        let second = written(&page);
        let version = |worker: &str| worker.split('"').nth(1).map(str::to_owned);
        assert_eq!(version(&first).unwrap().len(), 16);
        assert_ne!(version(&second), version(&first), "a byte more");

        other.write("sw.js", &first.replace("b\n", "c\n"));
        assert_ne!(version(&written(&other)), version(&first), "its own code");
    }

    #[test]
    fn what_cannot_be_listed_is_named() {
        let page = page();
        for (name, said) in [
            ("fonts/text.woff2", "fonts/text.woff2"),
            ("web site.css", "web site.css"),
            ("CNAME", "CNAME"),
        ] {
            page.write(name, "x");
            let error = write(Some(page.path.clone())).expect_err(name).to_string();
            assert!(error.contains(said), "{error}");
            std::fs::remove_file(page.path.join(name)).unwrap();
        }
        page.write("sw.js", "no list here");
        let error = write(Some(page.path.clone())).expect_err("no line");
        assert!(error.to_string().contains(LINE), "{error}");
        let empty = tempfolder::Folder::new();
        empty.write("sw.js", LINE);
        let error = write(Some(empty.path.clone())).expect_err("no page");
        assert!(error.to_string().contains("index.html"), "{error}");
    }

    /// What the unit tests above assume of the real one.
    #[test]
    fn the_real_service_worker_has_a_place_for_the_list() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/sw.js");
        let worker = std::fs::read_to_string(path).unwrap();
        with_list(&worker, &[]).unwrap();
    }

    mod tempfolder {
        use std::path::PathBuf;
        use std::sync::atomic::{AtomicU32, Ordering};

        /// A folder that is gone after the test.
        pub(super) struct Folder {
            pub(super) path: PathBuf,
        }

        impl Folder {
            pub(super) fn new() -> Self {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                let name = format!("xtask-precache-{}-{count}", std::process::id());
                let path = std::env::temp_dir().join(name);
                std::fs::create_dir_all(&path).unwrap();
                Self { path }
            }

            pub(super) fn write(&self, name: &str, text: &str) {
                let path = self.path.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
        }

        impl Drop for Folder {
            fn drop(&mut self) {
                // What stays behind in the system's own folder for such things harms nobody.
                let _ = std::fs::remove_dir_all(&self.path);
            }
        }
    }
}
