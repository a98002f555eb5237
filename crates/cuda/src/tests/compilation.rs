//! NVRTC compiles the kernels, which needs no device.

use crate::Error;
use crate::driver::compile;
use crate::kernels;
use libloading::Library;
use std::path::{Path, PathBuf};

/// Bytes of registers that a thread may put aside in slow memory.
const SPILL_BYTES_MAX: usize = 16;

/// Where `cargo xtask test --full` installs NVRTC.
fn installed() -> Option<PathBuf> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/lib");
    let python = std::fs::read_dir(libraries).ok()?.flatten().next()?.path();
    let folder = python.join("site-packages/nvidia/cu13/lib");
    folder.join("libnvrtc.so.13").exists().then_some(folder)
}

#[test]
fn without_a_driver_there_is_no_device_and_no_panic() {
    // On a machine with a device the tests of the benchmark say more.
    if let Ok(0) = crate::Device::count() {
        assert!(crate::Device::find(0).expect("no error").is_none());
    }
}

#[test]
#[ignore = "needs NVRTC, which the full run of the tests installs"]
fn every_kernel_compiles_for_every_architecture_without_a_remark() {
    // What is loaded by its path is found by its name later.
    let loaded = installed().map(|folder| {
        ["libnvrtc-builtins.so.13.0", "libnvrtc.so.13"]
            .map(|name| crate::emulator::load(&folder.join(name)))
    });
    for target in ["compute_80", "compute_90", "sm_80", "sm_90"] {
        match compile(target, &[]) {
            Ok((image, remarks)) => {
                assert_eq!(remarks, "", "{target}");
                assert!(image.len() > 10_000, "{target}");
                if target.starts_with("compute") {
                    rounded_once(&String::from_utf8_lossy(&image));
                }
            }
            Err(Error::NoCompiler) => {
                return eprintln!(
                    "SKIPPED: there is no NVRTC here. `cargo xtask test --full` installs it in target/python; it comes \
                     as the Python package nvidia-cuda-nvrtc"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
    for target in ["sm_80", "sm_90"] {
        let (_, remarks) = compile(target, &["--ptxas-options=-v"]).expect("compiled before");
        report(target, &remarks);
    }
    drop::<Option<[Library; 2]>>(loaded);
}

/// Every operation on f32 names its rounding, so that the driver's assembler contracts none, and none is
/// approximate or flushes.
fn rounded_once(ptx: &str) {
    for line in ptx.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        let arithmetic = ["add.", "sub.", "mul.", "fma.", "mad.", "div.", "sqrt."];
        if word.ends_with("f32") && arithmetic.iter().any(|a| word.starts_with(a)) {
            assert!(word.ends_with(".rn.f32") && !word.contains("ftz"), "{line}");
        }
    }
}

/// Prints what each kernel takes and looks at what it spills.
fn report(target: &str, remarks: &str) {
    let mut kernel = "";
    let mut seen = 0;
    for line in remarks.lines() {
        if let Some(at) = line.find("Compiling entry function '") {
            kernel = line[at..].split('\'').nth(1).expect("a name in quotes");
        } else if line.contains("spill stores") {
            let number = |word: &str| -> usize {
                let before = line.split(word).next().unwrap_or_default();
                before.split_whitespace().next_back().and_then(|n| n.parse().ok()).unwrap_or(0)
            };
            let spilled = number(" bytes spill stores");
            assert!(spilled <= SPILL_BYTES_MAX, "{kernel} for {target} spills {spilled} bytes");
        } else if let Some(at) = line.find("Used ") {
            println!("{target} {kernel}: {}", &line[at..]);
            seen += 1;
        }
    }
    assert_eq!(seen, kernels::ALL.len(), "{target}: {remarks}");
}
