//! What one tab tells the others of this site.

use std::cell::RefCell;

use serde::Serialize;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{BroadcastChannel, MessageEvent};

type Listener = Closure<dyn FnMut(MessageEvent)>;

/// A channel to all other tabs and workers of this site that have opened one of the same name. Its
/// messages reach everyone but this very channel. Messages are texts, and whoever reads one has to
/// be ready for that of another version of the page.
///
/// Where the browser has no such channels, nothing is heard.
#[derive(Debug)]
pub struct Bus {
    channel: Option<BroadcastChannel>,
    listener: RefCell<Option<Listener>>,
}

impl Bus {
    /// Opens the channel; it closes when this is dropped.
    pub fn open(name: &str) -> Self {
        Self {
            channel: BroadcastChannel::new(name).ok(),
            listener: RefCell::default(),
        }
    }

    /// Tells the others, as JSON. What they are told of, progress above all, can be missed:
    /// nothing says whether anyone has heard.
    pub fn post(&self, message: &impl Serialize) {
        if let (Some(channel), Ok(text)) = (&self.channel, serde_json::to_string(message)) {
            // A text can always be copied to the others.
            let _ = channel.post_message(&text.into());
        }
    }

    /// Calls `hear` with each message of the others from now on, in place of who heard before.
    pub fn on_message(&self, mut hear: impl FnMut(String) + 'static) {
        let Some(channel) = &self.channel else {
            return;
        };
        let listener = Listener::new(move |event: MessageEvent| {
            if let Some(text) = event.data().as_string() {
                hear(text);
            }
        });
        channel.set_onmessage(Some(listener.as_ref().unchecked_ref()));
        *self.listener.borrow_mut() = Some(listener);
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Some(channel) = &self.channel {
            channel.set_onmessage(None);
            channel.close();
        }
    }
}
