//! The target `compressed`: see the function of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mailhaul_fuzz::compressed::run(data));
