//! What is compared, and how often.

use std::path::{Path, PathBuf};

/// Where both sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Browser,
    Native,
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Ours,
    /// Transformers.js on WebGPU.
    WebGpu,
    /// Transformers.js on WebAssembly.
    Wasm,
    /// transformers on the CPU.
    Torch,
    Candle,
    /// transformers on CUDA, in bfloat16.
    TorchCuda,
    /// The same, with a static cache and a compiled forward.
    TorchCudaCompiled,
}

impl Engine {
    const ALL: [(Self, &'static str, &'static str, Where); 8] = [
        (Self::Ours, "ours", "ours", Where::Browser),
        (
            Self::WebGpu,
            "webgpu",
            "Transformers.js, WebGPU",
            Where::Browser,
        ),
        (Self::Wasm, "wasm", "Transformers.js, WASM", Where::Browser),
        (Self::Ours, "ours", "ours", Where::Native),
        (Self::Torch, "torch", "transformers, CPU", Where::Native),
        (Self::Candle, "candle", "candle", Where::Native),
        (
            Self::TorchCuda,
            "torch-cuda",
            "transformers, CUDA, bf16",
            Where::Native,
        ),
        (
            Self::TorchCudaCompiled,
            "torch-cuda-compiled",
            "transformers, CUDA, bf16, compiled",
            Where::Native,
        ),
    ];

    /// As it is written in an option.
    pub(crate) fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|known| known.0 == self);
        known.map_or("", |known| known.1)
    }

    /// As it is written in a table.
    pub(crate) fn title(self) -> &'static str {
        let known = Self::ALL.iter().find(|known| known.0 == self);
        known.map_or("", |known| known.2)
    }

    fn named(name: &str, place: Where) -> Option<Self> {
        let mut known = Self::ALL.iter();
        let known = known.find(|known| known.1 == name && known.3 == place);
        known.map(|known| known.0)
    }
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) place: Where,
    pub(crate) shape: String,
    pub(crate) model: Option<PathBuf>,
    /// None: all that this machine and the model allow.
    pub(crate) engines: Option<Vec<Engine>>,
    pub(crate) q4: bool,
    pub(crate) tokens: usize,
    pub(crate) runs: usize,
    pub(crate) out: Option<PathBuf>,
    pub(crate) fresh: bool,
    /// Our side is compiled as the tests are.
    pub(crate) quick: bool,
    /// What was given, for whoever wants to do it again; of a folder its name.
    pub(crate) given: Vec<String>,
}

/// What a folder is called. Where it lies says nothing on another machine.
pub(crate) fn name_of(folder: &Path) -> String {
    let name = folder.file_name();
    name.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

impl Options {
    /// # Errors
    /// A sentence about the argument that was not understood.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let place = match args.next().as_deref() {
            Some("browser") => Where::Browser,
            Some("native") => Where::Native,
            _ => return Err("say `browser` or `native`.".to_owned()),
        };
        let mut options = Self {
            place,
            shape: "paligemma2-small".to_owned(),
            model: None,
            engines: None,
            q4: false,
            tokens: 16,
            runs: 3,
            out: None,
            fresh: false,
            quick: false,
            given: Vec::new(),
        };
        while let Some(arg) = args.next() {
            if arg == "--fresh" {
                options.fresh = true;
                continue;
            }
            if arg == "--quick" {
                options.quick = true;
                options.given.push(arg);
                continue;
            }
            let value = args.next().ok_or(format!(
                "`{arg}` is not understood, or needs a value after it."
            ))?;
            match arg.as_str() {
                "--shape" => options.shape = value.clone(),
                "--model" if place == Where::Native => options.model = Some(value.clone().into()),
                "--engines" => options.engines = Some(engines(&value, place)?),
                "--precision" => options.q4 = precision(&value)?,
                "--tokens" => options.tokens = number(&arg, &value, 2)?,
                "--runs" => options.runs = number(&arg, &value, 1)?,
                "--out" => options.out = Some(value.clone().into()),
                other => return Err(format!("`{other}` is not understood.")),
            }
            let named = match arg.as_str() {
                "--model" => name_of(Path::new(&value)),
                _ => value,
            };
            if arg != "--out" {
                options.given.extend([arg, named]);
            }
        }
        Ok(options)
    }

    /// How our side was compiled.
    pub(crate) fn build(&self) -> &'static str {
        if self.quick {
            "compiled as for tests, opt-level 1"
        } else {
            "compiled as published"
        }
    }

    /// Whether an engine was asked for, or none in particular.
    pub(crate) fn wants(&self, engine: Engine) -> bool {
        let named = self.engines.as_ref();
        named.is_none_or(|engines| engines.contains(&engine))
    }

    /// Whether an engine was asked for by its name.
    pub(crate) fn names(&self, engine: Engine) -> bool {
        let named = self.engines.as_ref();
        named.is_some_and(|engines| engines.contains(&engine))
    }
}

fn engines(list: &str, place: Where) -> Result<Vec<Engine>, String> {
    let named = list.split(',').map(|name| {
        Engine::named(name, place).ok_or(format!("there is no engine `{name}` to compare here."))
    });
    named.collect()
}

fn precision(value: &str) -> Result<bool, String> {
    match value {
        "f32" => Ok(false),
        "q4" => Ok(true),
        other => Err(format!("`{other}` is no precision: f32 or q4.")),
    }
}

fn number(option: &str, value: &str, least: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|&number| number >= least);
    number.ok_or(format!(
        "`{option}` takes a number from {least} on, not `{value}`."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn what_is_given_is_kept_to_be_given_again() {
        let options = parse("browser --tokens 8 --engines ours,wasm --out x.md --precision q4");
        let options = options.expect("options");
        assert_eq!(
            options.given.join(" "),
            "--tokens 8 --engines ours,wasm --precision q4"
        );
        assert!(options.wants(Engine::Wasm) && !options.wants(Engine::WebGpu) && options.q4);
    }

    #[test]
    fn of_a_folder_only_the_name_is_told() {
        let options = parse("native --model /where/it/lies/mine/ --runs 2").expect("options");
        assert_eq!(options.model, Some("/where/it/lies/mine/".into()));
        assert_eq!(options.given.join(" "), "--model mine --runs 2");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, part) in [
            ("", "`browser` or `native`"),
            ("native --engines wasm", "`wasm`"),
            ("browser --runs 0", "`0`"),
            ("browser --model x", "`--model`"),
            ("browser --precision f16", "`f16`"),
            ("native --tokens", "`--tokens`"),
        ] {
            let problem = parse(line).expect_err(line);
            assert!(problem.contains(part), "{line}: {problem}");
        }
    }
}
