//! A published size through the page: fetched from a hub, packed, kept, reloaded, asked.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paligemma_tests::server::{Content, Repository, Server};
use paligemma_tests::synthetic::{Options, Shape, Synthetic};
use serde_json::{Value, json};

use crate::browser::{Browser, PROBE, PROBE_SCRIPT};

type Outcome<T> = Result<T, Box<dyn Error>>;

const REPOSITORY: &str = "synthetic/full-size";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The question, and how many tokens of the answer are compared.
const PROMPT: &str = "caption en";
pub(crate) const TOKENS: usize = 4;

/// Hours: software rendering computes a few billion operations a second.
const LONG: Duration = Duration::from_secs(3 * 3600);

/// Reads every piece of the store, one after the other, and does nothing with it: what loading cannot
/// be faster than by much.
const READ_STORE: &str = "(() => {
  const done = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const read = async () => {
    const store = await done(indexedDB.open('paligemma-web'));
    const pieces = () => store.transaction('pieces').objectStore('pieces');
    const keys = await done(pieces().getAllKeys());
    const started = performance.now();
    let bytes = 0;
    for (const key of keys) bytes += (await done(pieces().get(key))).byteLength;
    const ms = performance.now() - started;
    store.close();
    return { bytes, ms };
  };
  probe.store = null;
  read().then((found) => { probe.store = found; }, (error) => { probe.store = { error: `${error}` }; });
  return true;
})()";

/// Does it, and prints and returns what was measured.
pub(crate) fn through_the_page(
    shape: Shape,
    options: Options,
    recipe: &str,
    folder: &Path,
    tokens: usize,
) -> Outcome<Value> {
    std::fs::create_dir_all(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let synthetic = Arc::new(Synthetic::new(shape, options));
    let mut hub = Server::start();
    let mut repository = Repository::new(REPOSITORY, COMMIT);
    let mut published = 0;
    for (path, bytes) in synthetic.files() {
        published += bytes;
        let (source, name) = (Arc::clone(&synthetic), path.clone());
        let content = Content::generated(bytes, None, move |range| source.read(&name, range));
        repository = repository.with(&path, content);
    }
    hub.put_repository(repository);
    let site = Server::start();
    site.isolate();
    let dist = PathBuf::from(std::env::var("PALIGEMMA_DIST")?);
    site.put_pages(&dist);
    site.put(PROBE, PROBE_SCRIPT.as_bytes().to_vec());

    let profile = folder.join("profile");
    let _ = std::fs::remove_dir_all(&profile);
    let mut report = json!({"shape": shape.name(), "recipe": recipe, "published_bytes": published});
    let outcome = runtime.block_on(async {
        let mut browser = Browser::start(&profile).await?;
        browser.go(&site.url("/")).await?;
        browser.until(&state("ready"), LONG).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        browser.measure();
        report["before"] = memory(&mut browser).await?;

        println!("fetch");
        let address = format!(
            "/?hub={}&repo={REPOSITORY}&revision=main",
            hub.url("")
        );
        browser.go(&site.url(&address)).await?;
        browser.until(&state("ready"), LONG).await?;
        browser
            .value(&format!(
                "(() => {{ const field = document.querySelector('#recipe'); field.value = '{recipe}'; \
                 field.dispatchEvent(new Event('change', {{bubbles: true}})); return true }})()"
            ))
            .await?;
        browser.click("#examine").await?;
        browser.until("document.querySelector('#offer')?.dataset.key", LONG).await?;
        let started = Instant::now();
        browser.click("#fetch").await?;
        let fetched = "!document.querySelector('#fetching') && probe.load_ms > 0";
        browser.until("!!document.querySelector('#fetching')", LONG).await?;
        browser.value("(probe.load_ms = 0, true)").await?;
        browser.until(fetched, LONG).await?;
        report["fetch_and_load_seconds"] = json!(started.elapsed().as_secs_f64());
        report["first_load_ms"] = browser.value("probe.load_ms").await?;
        let requests = hub.requests();
        let weights = requests.iter().filter(|r| r.path.ends_with(".safetensors"));
        report["received_bytes"] = json!(weights.map(|r| r.sent).sum::<u64>());
        report["requests"] = json!(hub.requests().len());
        report["estimate"] = browser
            .value("window.estimate ?? null")
            .await?;
        report["fetch"] = memory(&mut browser).await?;
        browser.screenshot(&folder.join("fetched.png")).await?;

        keep(folder, &report)?;
        println!("reload, the hub gone");
        hub.stop();
        browser.go(&site.url("/")).await?;
        browser.until(&state("ready"), LONG).await?;
        report["second_load_ms"] = browser.value("probe.load_ms").await?;
        report["reload"] = memory(&mut browser).await?;
        browser.value(READ_STORE).await?;
        report["store"] = browser.until("probe.store", LONG).await?;
        keep(folder, &report)?;
        if tokens > 0 {
            println!("ask");
            report["answer"] = ask(&mut browser, tokens).await?;
            report["asking"] = memory(&mut browser).await?;
            browser.screenshot(&folder.join("answered.png")).await?;
        }
        report["browser"] = browser.value("navigator.userAgent").await?;
        browser.close().await
    });
    let _ = std::fs::remove_dir_all(&profile);
    outcome?;
    // It was stopped; a few more may have come.
    for (short, field) in [("ids", "token_ids"), ("logprobs", "logprobs")] {
        let all = report["answer"][field].as_array();
        let first: Vec<Value> = all.into_iter().flatten().take(tokens).cloned().collect();
        report[short] = json!(first);
    }
    Ok(report)
}

/// Keeps what has been measured so far: the next stage may take an hour and end in nothing.
fn keep(folder: &Path, report: &Value) -> Outcome<()> {
    let text = serde_json::to_string_pretty(report)?;
    Ok(std::fs::write(folder.join("report.json"), text)?)
}

fn state(state: &str) -> String {
    format!("document.querySelector('#status')?.dataset.state === '{state}'")
}

/// The largest memories since the last look.
async fn memory(browser: &mut Browser) -> Outcome<Value> {
    Ok(json!({
        "wasm_bytes": browser.value("probe.wasm").await?,
        "heap_bytes": browser.value("probe.heap").await?,
        "looks": browser.value("probe.looks").await?,
        "resident_bytes": std::mem::take(&mut browser.peaks),
    }))
}

/// Asks, stops when there are enough tokens, and returns the answer.
async fn ask(browser: &mut Browser, tokens: usize) -> Outcome<Value> {
    browser
        .value("(probe.tokens = 0, probe.answer = null, true)")
        .await?;
    browser.ask(PROMPT).await?;
    let enough = format!("probe.tokens >= {tokens} || probe.answer !== null");
    browser.until(&enough, LONG).await?;
    if browser.value("probe.answer").await?.is_null() {
        browser.click("#stop").await?;
    }
    browser.until("probe.answer", LONG).await
}

/// The same question to the native command, on the same weights, packed by the same recipe.
pub(crate) fn natively(
    shape: Shape,
    options: Options,
    recipe: &str,
    folder: &Path,
    picture: &Path,
) -> Outcome<Value> {
    let command = std::env::var("PALIGEMMA_COMMAND")?;
    let model = folder.join(shape.name());
    let packed = folder.join(format!("{}-{recipe}", shape.name()));
    println!("write {}", model.display());
    Synthetic::new(shape, options).write_to(&model)?;
    println!("convert");
    let started = Instant::now();
    run(Command::new(&command)
        .args(["convert", "--recipe", recipe, "--model"])
        .arg(&model)
        .arg("--out")
        .arg(&packed))?;
    let convert = started.elapsed();
    std::fs::remove_dir_all(&model)?;
    println!("run");
    let started = Instant::now();
    let answer = run(Command::new(&command)
        .args([
            "run",
            "--json",
            "--logprobs",
            "--prompt",
            PROMPT,
            "--max-new-tokens",
        ])
        .arg(TOKENS.to_string())
        .arg("--model")
        .arg(&packed)
        .arg("--image")
        .arg(picture))?;
    let ran = started.elapsed();
    std::fs::remove_dir_all(&packed)?;
    Ok(json!({
        "shape": shape.name(),
        "recipe": recipe,
        "convert_seconds": convert.as_secs_f64(),
        "run_seconds": ran.as_secs_f64(),
        "answer": serde_json::from_str::<Value>(&answer)?,
    }))
}

fn run(command: &mut Command) -> Outcome<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
