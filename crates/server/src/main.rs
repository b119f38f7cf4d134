//! Everline.

fn main() {}
