//! In a headless Chromium: ours and Transformers.js, each run in a fresh browser, so that loading
//! is loading and a peak is its own.

use std::path::Path;
use std::time::{Duration, Instant};

use paligemma_tests::driver::{Driver, capabilities};
use paligemma_tests::processes;
use paligemma_tests::server::Server;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::Outcome;
use crate::machine::{commit, machine};
use crate::options::{Engine, Options};
use crate::prepare::{PROMPT, Prepared, folder};
use crate::sample::{Measured, Sample, Side};

const ENGINES: [Engine; 3] = [Engine::Ours, Engine::WebGpu, Engine::Wasm];

/// A software adapter takes minutes for an answer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What Transformers.js loads: itself, and the build of onnxruntime-web that it chooses for either
/// back end.
const PACKAGED: [&str; 3] = [
    "@huggingface/transformers/dist/transformers.min.js",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm",
];

/// # Errors
/// If a browser does not start or an engine fails.
pub(crate) fn measure(options: &Options, prepared: &Prepared) -> Outcome<Measured> {
    let site = site(options, prepared)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let engines = ENGINES.into_iter().filter(|&engine| options.wants(engine));
    let mut sides: Vec<Side> = engines.map(Side::new).collect();
    let mut last = Value::Null;
    for run in 0..options.runs {
        // Another one begins each time.
        for turn in 0..sides.len() {
            let count = sides.len();
            let side = &mut sides[(run + turn) % count];
            let ran = runtime.block_on(one(&site, options, side.engine));
            let ran = ran.and_then(|(outcome, peaks)| {
                let mut sample = Sample::read(&outcome)?;
                sample.peaks = peaks;
                Ok((outcome, sample))
            });
            let (outcome, sample) = match ran {
                Ok(ran) => ran,
                Err(error) => {
                    println!("{} {}: {error}", run + 1, side.engine.title());
                    side.failures.push(error.to_string());
                    continue;
                }
            };
            println!("{} {}: {sample:?}", run + 1, side.engine.title());
            side.about = about(options, side.engine, &outcome["adapter"]);
            side.samples.push(sample);
            last = outcome;
        }
    }
    let webgpu = &last["webgpu"];
    let adapter = ["vendor", "architecture", "description"].map(|name| webgpu[name].as_str());
    let adapter = adapter.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let isolated = match last["isolated"].as_bool() {
        Some(true) => "isolated from other origins, so WASM may use threads",
        _ => "not isolated from other origins, so WASM has one thread",
    };
    let agent = last["user_agent"].as_str().unwrap_or_default();
    let chrome = agent.split(' ').find(|word| word.contains("Chrome/"));
    Ok(Measured {
        conditions: vec![
            ("machine", machine()),
            (
                "browser",
                format!("{}, {isolated}", chrome.unwrap_or(agent)),
            ),
            ("WebGPU adapter", adapter.trim().to_owned()),
        ],
        sides,
    })
}

fn about(options: &Options, engine: Engine, adapter: &Value) -> String {
    let text = |name: &str| adapter[name].as_str().unwrap_or_default().to_owned();
    match engine {
        Engine::Ours => format!("{}, {}, {}", commit(), options.build(), text("backend")),
        _ => format!(
            "Transformers.js {}, onnxruntime-web {}, {} threads for WASM",
            text("transformers"),
            text("runtime"),
            adapter["threads"]
        ),
    }
}

/// The built page, what is needed of the npm packages, the page that asks and the model, on one
/// server.
fn site(options: &Options, prepared: &Prepared) -> Outcome<Server> {
    let site = folder("PALIGEMMA_WORK")?.join("site");
    copy(&folder("PALIGEMMA_DIST")?, &site.join("app"))?;
    copy(&folder("PALIGEMMA_PEERS")?.join("web"), &site)?;
    let packages = folder("PALIGEMMA_NODE_MODULES")?;
    for file in PACKAGED {
        let to = site.join("npm").join(file);
        std::fs::create_dir_all(to.parent().unwrap_or(&to))?;
        let from = packages.join(file);
        std::fs::copy(&from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    let server = Server::start();
    server.isolate();
    server.put_pages(&site);
    server.put_folder(&format!("/models/{}", options.shape), &prepared.folder);
    Ok(server)
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    std::fs::create_dir_all(to)?;
    let entries =
        std::fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(&path, to)?;
        }
    }
    Ok(())
}

/// Starts a browser, has one engine answer twice, and looks at what its processes needed.
async fn one(
    site: &Server,
    options: &Options,
    engine: Engine,
) -> Outcome<(Value, Vec<(String, u64)>)> {
    let profile = tempfile::tempdir()?;
    let capabilities = capabilities(profile.path(), (800, 600))?;
    let driver = Driver::start().await?;
    let client = driver.open(capabilities).await?;
    let precision = if options.q4 {
        [("recipe", "q4"), ("dtype", "q4")]
    } else {
        [("recipe", "as-stored"), ("dtype", "fp32")]
    };
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("engine", engine.name())
        .append_pair("model", &options.shape)
        .extend_pairs(precision)
        .append_pair("prompt", PROMPT)
        .append_pair("tokens", &options.tokens.to_string())
        .append_pair("answers", "2")
        .finish();
    client
        .goto(&site.url(&format!("/compare.html?{query}")))
        .await?;
    let started = Instant::now();
    let outcome = loop {
        let outcome = client
            .execute("return window.outcome ?? null", vec![])
            .await?;
        if !outcome.is_null() {
            break outcome;
        }
        if started.elapsed() > PATIENCE {
            break json!({"error": format!("no answer within {PATIENCE:?}")});
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    let processes = driver.id().map(processes::below).unwrap_or_default();
    client.close().await?;
    if let Some(error) = outcome["error"].as_str() {
        return Err(format!("{}: {error}", engine.title()).into());
    }
    let largest = |kind: &str| {
        let peaks = processes.iter().filter(|process| process.kind == kind);
        peaks.map(|process| process.peak).max()
    };
    let peaks = ["renderer", "gpu-process"].into_iter();
    let peaks = peaks.filter_map(|kind| Some((kind.to_owned(), largest(kind)?)));
    Ok((outcome, peaks.collect()))
}
