//! The fields for a LoRA adapter, which is merged into a model while it arrives.

use leptos::prelude::*;
use paligemma_browser::message::Files;
use paligemma_browser::protocol::{ADAPTER_FILES, ModelSource, Wanted};
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlInputElement};

use super::form::Form;
use super::state::Models;

/// What its files are called; others that lie beside them are no part of it.
const NAMES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Repository, address or files of an adapter.
#[component]
pub(super) fn AdapterFields(
    /// The models.
    models: Models,
) -> impl IntoView {
    let is_used = models.form.with_untracked(|form| !form.adapter.is_empty());
    let typed = move |event| models.edit(|form| form.adapter = event_target_value(&event));
    let choose = move |event: Event| {
        let input = event
            .target()
            .and_then(|it| it.dyn_into::<HtmlInputElement>().ok());
        if let Some(files) = input.and_then(|input| input.files()) {
            models.choose_adapter(&files);
        }
    };
    let chosen = move || models.form.with(|form| form.adapter_files);
    view! {
        <details class="more" id="lora-fields" prop:open=is_used>
            <summary>"Adapter (LoRA)"</summary>
            <label class="field">
                <span>"Its repository on the hub, or the address of its folder"</span>
                <input
                    id="lora"
                    type="text"
                    autocomplete="off"
                    autocapitalize="none"
                    spellcheck="false"
                    placeholder="owner/name"
                    prop:value=move || models.form.with(|form| form.adapter.clone())
                    on:input=typed
                />
            </label>
            <div class="actions">
                <div class="file">
                    <input
                        class="visually-hidden"
                        id="lora-files"
                        type="file"
                        multiple
                        on:change=choose
                    />
                    <label class="button" for="lora-files">"Choose its files…"</label>
                </div>
                <Show when=move || chosen() != 0>
                    <button
                        class="quiet"
                        id="lora-forget"
                        type="button"
                        on:click=move |_| models.forget_adapter_files()
                    >
                        "Without these files"
                    </button>
                </Show>
            </div>
            <p class="small" id="chosen-lora">
                {move || match chosen() {
                    0 => "No files are chosen.",
                    1 => "One of its two files is chosen; both are needed.",
                    _ => "Its files are chosen.",
                }}
            </p>
            <p class="small">
                "An adapter in PEFT’s format: adapter_config.json and adapter_model.safetensors. It is "
                "merged into the weights before they are packed, so the model has to be the checkpoint "
                "it was trained on, not a packed one. It is kept as a model of its own."
            </p>
        </details>
    }
}

impl Form {
    /// Where the adapter comes from, if there is one. A name is one on the form's hub; what is
    /// typed goes before files.
    pub(super) fn adapter_source(&self) -> Option<ModelSource> {
        let typed = self.adapter.trim();
        let base_url = self.base_url.trim().trim_end_matches('/');
        if typed.is_empty() {
            return (self.adapter_files > 0).then_some(ModelSource::Files);
        }
        if typed.contains("://") && !typed.starts_with(&format!("{base_url}/")) {
            let url = typed.to_owned();
            return Some(ModelSource::Url { url });
        }
        let (repository, revision) = super::form::take_apart(typed);
        Some(ModelSource::Hub {
            base_url: base_url.to_owned(),
            repository: repository.to_owned(),
            revision: revision.unwrap_or("main").to_owned(),
        })
    }

    /// Puts an adapter's source into the field.
    pub(super) fn show_adapter(&mut self, source: Option<&ModelSource>) {
        self.adapter = match source {
            None | Some(ModelSource::Files) => String::new(),
            Some(ModelSource::Url { url }) => url.clone(),
            Some(ModelSource::Hub {
                base_url,
                repository,
                revision,
            }) => {
                let base_url = base_url.trim_end_matches('/');
                format!("{base_url}/{repository}/tree/{revision}")
            }
        };
    }
}

impl Models {
    /// Takes the files that a person chose as an adapter's.
    fn choose_adapter(self, list: &web_sys::FileList) {
        let files = (0..list.length()).filter_map(|index| list.get(index));
        let files: Vec<_> = files
            .filter(|file| NAMES.contains(&file.name().as_str()))
            .collect();
        self.edit(|form| form.adapter_files = files.len());
        self.inner.update_value(|inner| inner.adapter_files = files);
    }

    fn forget_adapter_files(self) {
        self.edit(|form| form.adapter_files = 0);
        self.inner
            .update_value(|inner| inner.adapter_files = Vec::new());
    }

    /// The files that travel beside a request: those of the model and of the adapter, as far as
    /// they are files.
    pub(super) fn files_of(self, wanted: &Wanted) -> Files {
        let has_adapter = wanted.adapter == Some(ModelSource::Files);
        self.inner.with_value(|inner| {
            let files = match wanted.source {
                ModelSource::Files => inner.files.copied(),
                ModelSource::Hub { .. } | ModelSource::Url { .. } => Files::new(),
            };
            for file in inner.adapter_files.iter().filter(|_| has_adapter) {
                files.push(&format!("{ADAPTER_FILES}{}", file.name()), file);
            }
            files
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(adapter: &str, files: usize) -> Form {
        Form {
            adapter: adapter.to_owned(),
            adapter_files: files,
            ..Form::new(None)
        }
    }

    fn hub(repository: &str, revision: &str) -> ModelSource {
        ModelSource::Hub {
            base_url: "https://huggingface.co".to_owned(),
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        }
    }

    #[test]
    fn an_adapter_is_a_name_an_address_or_files() {
        let of = |adapter, files| form(adapter, files).adapter_source();
        assert_eq!(of("", 0), None);
        assert_eq!(of(" me/lora ", 2), Some(hub("me/lora", "main")));
        assert_eq!(
            of("https://huggingface.co/me/lora/tree/v2", 0),
            Some(hub("me/lora", "v2"))
        );
        let url = "https://a.b/lora".to_owned();
        assert_eq!(of("https://a.b/lora", 0), Some(ModelSource::Url { url }));
        assert_eq!(of("", 2), Some(ModelSource::Files));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let url = "https://a.b/lora".to_owned();
        for source in [hub("me/lora", "0123abc"), ModelSource::Url { url }] {
            let mut form = form("", 0);
            form.show_adapter(Some(&source));
            assert_eq!(form.adapter_source(), Some(source));
        }
        let mut other = form("me/lora", 0);
        other.show_adapter(None);
        assert_eq!(other.adapter_source(), None);
    }
}
