use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use paligemma_engine::Event;

use crate::failure::remark;

/// A bar on stderr while weights load, a spinner while the model thinks; nothing when stderr is
/// not a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        // indicatif hides itself when stderr is not a terminal.
        Self(ProgressBar::no_length())
    }

    pub(crate) fn show(&self, event: &Event) {
        let bar = &self.0;
        match event {
            Event::Loading {
                loaded_bytes,
                total_bytes,
            } => {
                if bar.length() != Some(*total_bytes) {
                    bar.set_length(*total_bytes);
                    style(bar, "loading {wide_bar} {bytes}/{total_bytes} {eta}");
                }
                bar.set_position(*loaded_bytes);
            }
            Event::Warning { warning } => bar.suspend(|| remark(&warning.to_string())),
            Event::EncodingImage { index, of } => {
                self.stage(format!("image {} of {of}", index + 1))
            }
            Event::Prefill { tokens } => self.stage(format!("reading {tokens} tokens")),
            Event::Token { text, .. } => self.stage(text.replace('\n', " ")),
            Event::Done { .. } => bar.finish_and_clear(),
        }
    }

    pub(crate) fn stage(&self, message: String) {
        style(&self.0, "{spinner} {wide_msg}");
        self.0.enable_steady_tick(Duration::from_millis(120));
        self.0.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
