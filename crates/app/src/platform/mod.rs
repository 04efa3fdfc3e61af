//! What the page asks of the browser, in Rust's terms.

pub(crate) mod canvas;
pub(crate) mod clipboard;
pub(crate) mod file;
pub(crate) mod frames;
pub(crate) mod offline;
pub(crate) mod page;
pub(crate) mod storage;
