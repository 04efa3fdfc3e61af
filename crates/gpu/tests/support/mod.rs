//! What the test programs share.

// Each test program uses a part of this.
#![allow(dead_code)]

pub(crate) mod bounds;
pub(crate) mod compare;
pub(crate) mod random;
pub(crate) mod upload;
