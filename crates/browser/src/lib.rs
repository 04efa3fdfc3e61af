//! The browser as a platform: the worker that hosts the engine and the client that talks to it.
//!
//! The page uses [`client`] and [`protocol`]; neither knows the engine. The worker's half, which
//! does, is compiled with the feature `worker` only, so that the page's binary stays small.

pub mod client;
mod environment;
#[cfg(feature = "worker")]
pub mod http;
#[cfg(feature = "worker")]
pub mod hub;
#[cfg(feature = "worker")]
pub mod local;
pub mod message;
pub mod protocol;
#[cfg(feature = "worker")]
pub mod source;
#[cfg(feature = "worker")]
pub mod store;
#[cfg(feature = "worker")]
pub mod worker;
