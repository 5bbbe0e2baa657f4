//! The target `http`: see the function of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mailhaul_fuzz::http::run(data));
