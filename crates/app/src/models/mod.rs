//! Models: which one answers, which are kept, and getting another.
//!
//! [`Models`] is the state and the conversation about it. The dialog and the button in the page's
//! head show it. What is arithmetic or wording (rates, sizes, what to begin with, what a form
//! means) is in modules of its own.

mod adapter;
mod begin;
mod button;
mod cache;
mod dialog;
mod form;
mod job;
mod kept;
mod load;
mod masks;
mod network;
mod obtain;
mod offer;
mod pace;
mod progress;
mod published;
mod recipe;
mod source;
mod start;
mod state;
mod token;
mod trouble;
mod words;

pub(crate) use self::button::{ModelButton, Remarks};
pub(crate) use self::dialog::ModelDialog;
pub(crate) use self::published::shapes;
pub(crate) use self::state::Models;
