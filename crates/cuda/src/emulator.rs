//! A device that the processor plays, so that every kernel is run where there is no GPU.
//!
//! The sources that NVRTC compiles for a device are compiled here with the C compiler, against `emulator/device.h`:
//! the threads of a block take turns at barriers. Memory of the device is memory of the process, each buffer with
//! a guard behind it that is looked at when it is given back.

use crate::Error;
use crate::backend::{Arguments, Backend, Kernel};
use crate::source::SOURCE;
use libloading::Library;
use std::collections::HashMap;
use std::ffi::c_void;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

/// Bytes behind each buffer that nobody may write. Kernels may read a few beyond.
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xa5;
/// Buffers begin at multiples of this, as on a device.
const ALIGNED: usize = 256;

type Body = unsafe extern "C" fn(*const c_void);
type Emulate = unsafe extern "C" fn(Body, *const u32, u32, *const c_void);

#[derive(Debug)]
pub(crate) struct Emulator {
    library: &'static Library,
    /// Start of a buffer, its memory, its size.
    memory: Mutex<HashMap<u64, (Vec<u8>, usize)>>,
}

/// The kernels as a library, compiled once for all tests.
fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder for the kernels");
        let (source, header) = (folder.path().join("kernels.c"), folder.path().join("device.h"));
        let library = folder.path().join("kernels.so");
        std::fs::write(&source, SOURCE).expect("the sources are written");
        std::fs::write(&header, include_str!("emulator/device.h")).expect("the header is written");
        let options = [
            "-x",
            "c",
            "-std=gnu11",
            "-O2",
            "-ffp-contract=off",
            "-fno-strict-aliasing",
            "-U_FORTIFY_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-DOPENLEDGER_EMULATED",
            "-shared",
            "-fPIC",
        ];
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(compiler);
        command.args(options).arg("-I").arg(folder.path()).arg("-o").arg(&library).arg(&source);
        let status = command.arg("-lm").status().expect("a C compiler, as the README asks for");
        assert!(status.success(), "the kernels do not compile as C");
        // SAFETY: the library was just made from our sources and has no initialisers.
        unsafe { Library::new(&library).expect("the library that was made") }
    })
}

/// Loads a library of NVIDIA's by its path.
pub(crate) fn load(path: &std::path::Path) -> Library {
    // SAFETY: NVRTC's initialisers need nothing of ours.
    unsafe { Library::new(path) }.expect("an installed library")
}

impl Emulator {
    pub(crate) fn device() -> Arc<dyn Backend> {
        Arc::new(Self { library: library(), memory: Mutex::default() })
    }
}

impl Backend for Emulator {
    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        let mut memory = vec![0u8; bytes + ALIGNED + GUARD];
        let start = memory.as_ptr().align_offset(ALIGNED);
        memory[start + bytes..][..GUARD].fill(GUARD_BYTE);
        let address = memory[start..].as_mut_ptr() as u64;
        self.memory.lock().expect("no test died here").insert(address, (memory, bytes));
        Ok(address)
    }

    fn release(&self, address: u64) {
        let (memory, bytes) =
            self.memory.lock().expect("no test died here").remove(&address).expect("was given out");
        let start = memory.as_ptr().align_offset(ALIGNED);
        let guard = &memory[start + bytes..][..GUARD];
        if !std::thread::panicking() {
            assert!(guard.iter().all(|b| *b == GUARD_BYTE), "a kernel wrote behind {bytes} bytes");
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: `Buffer` checked that the memory is its own.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Error> {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn launch(&self, kernel: Kernel, grid: [usize; 3], arguments: &Arguments) -> Result<(), Error> {
        let grid = grid.map(|n| u32::try_from(n).expect("grids have 32 bits"));
        // What a device refuses.
        assert!(grid[1] < 1 << 16 && grid[2] < 1 << 16, "grid of {}", kernel.name);
        // SAFETY: the symbols have these types in `emulator/device.h`; `kernels` checked the memory that the
        // arguments name.
        unsafe {
            let symbol = |name: &str| format!("{name}\0");
            let threads: libloading::Symbol<'_, *const u32> = self
                .library
                .get(symbol(&format!("{}_threads", kernel.name)).as_bytes())
                .expect("a kernel");
            assert_eq!(**threads, kernel.threads, "threads of {}", kernel.name);
            let body: libloading::Symbol<'_, Body> =
                self.library.get(symbol(kernel.name).as_bytes()).expect("a kernel");
            let emulate: libloading::Symbol<'_, Emulate> =
                self.library.get(b"emulate\0").expect("the emulator");
            emulate(*body, grid.as_ptr(), kernel.threads, arguments.words().as_ptr().cast());
        }
        Ok(())
    }

    fn free_bytes(&self) -> Result<usize, Error> {
        Ok(usize::MAX)
    }
}
