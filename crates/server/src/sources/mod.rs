//! Where leader news comes from. A source yields observations and performs what `core::ha` decides
//! about them; it never decides by itself.

mod complaints;
pub mod consul;
pub mod proxy;
pub mod registration;
pub mod status;
pub mod stolon;
pub mod watch;
