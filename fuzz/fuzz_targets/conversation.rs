#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| everline_fuzz::run("conversation", data));
