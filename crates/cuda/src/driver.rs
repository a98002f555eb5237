//! The CUDA driver and NVRTC, loaded when they are asked for: the only file of the shipped crate with unsafe code.
//!
//! **Invariant:** nothing is called before the library was found, so a machine without CUDA meets no panic and
//! no missing symbol.

use crate::Error;
use crate::backend::{Arguments, Backend, Kernel};
use crate::kernels;
use crate::source::{OPTIONS, SOURCE};
use cudarc::driver::{DriverError, result as cu, sys};
use cudarc::nvrtc::{result as rtc, sys as rtc_sys};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::sync::Mutex;

/// Numbers without padding, in which any bits are a value.
///
/// # Safety
/// Implementors are such numbers.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: every bit pattern is a value, and there is no padding.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// The memory of some numbers.
pub(crate) fn bytes_of<T: Plain>(x: &[T]) -> &[u8] {
    // SAFETY: plain numbers are bytes, all of them initialised.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), size_of_val(x)) }
}

/// As [`bytes_of`], to be written.
pub(crate) fn bytes_of_mut<T: Plain>(x: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and any bytes are values of T.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), size_of_val(x)) }
}

/// What a device says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Properties {
    pub(crate) name: String,
    pub(crate) compute: (i32, i32),
    pub(crate) memory_bytes: usize,
}

/// A device with our kernels on it.
#[derive(Debug)]
pub(crate) struct CudaBackend {
    device: sys::CUdevice,
    context: sys::CUcontext,
    module: sys::CUmodule,
    functions: HashMap<&'static str, sys::CUfunction>,
    pub(crate) properties: Properties,
    /// One caller at a time, so that work is done in the order in which it was asked for.
    order: Mutex<()>,
}

// SAFETY: the driver's handles may be used from any thread once the context is current in it, which every method
// sees to.
unsafe impl Send for CudaBackend {}
// SAFETY: as above; the driver locks by itself.
unsafe impl Sync for CudaBackend {}

fn failed(doing: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::Driver { doing, why: format!("{error:?}") }
}

/// Devices there are; `None` without a driver.
pub(crate) fn count() -> Result<Option<usize>, Error> {
    // SAFETY: tries to load the library and keeps nothing.
    if !unsafe { sys::is_culib_present() } {
        return Ok(None);
    }
    match cu::init() {
        Ok(()) => {}
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => return Ok(None),
        // A toolkit's stand-in for the driver, to link against.
        Err(DriverError(sys::CUresult::CUDA_ERROR_STUB_LIBRARY)) => return Ok(None),
        Err(error) => return Err(failed("starting the driver")(error)),
    }
    let count = cu::device::get_count().map_err(failed("counting devices"))?;
    Ok(usize::try_from(count).ok().filter(|n| *n > 0))
}

impl CudaBackend {
    /// Opens a device that [`count`] counted and compiles the kernels for it.
    pub(crate) fn open(ordinal: usize) -> Result<Self, Error> {
        let ordinal = i32::try_from(ordinal).expect("a counted device");
        let device = cu::device::get(ordinal).map_err(failed("opening the device"))?;
        let name = cu::device::get_name(device).map_err(failed("asking its name"))?;
        use sys::CUdevice_attribute_enum as attribute;
        // SAFETY: the device comes from the driver.
        let ask = |what| unsafe { cu::device::get_attribute(device, what) };
        let compute = (
            ask(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            ask(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        );
        let failed_to_ask = failed("asking its compute capability");
        let (major, minor) =
            (compute.0.map_err(&failed_to_ask)?, compute.1.map_err(&failed_to_ask)?);
        if major < 8 {
            return Err(Error::TooOld { name, major, minor });
        }
        // SAFETY: the device comes from the driver.
        let memory = unsafe { cu::device::total_mem(device) };
        let memory_bytes = memory.map_err(failed("asking its memory"))?;
        let (image, _) = compile(&format!("sm_{major}{minor}"), &[])?;
        // SAFETY: the device comes from the driver; the context is released when this is dropped.
        let context = unsafe { cu::primary_ctx::retain(device) };
        let context = context.map_err(failed("taking its context"))?;
        // SAFETY: the context was just given to us.
        unsafe { cu::ctx::set_current(context) }.map_err(failed("using its context"))?;
        // SAFETY: the image is a cubin, whole, as the compiler made it.
        let module = unsafe { cu::module::load_data(image.as_ptr().cast()) };
        let module = module.map_err(failed("loading the kernels"))?;
        let mut functions = HashMap::new();
        for kernel in kernels::ALL {
            let name = CString::new(kernel.name).expect("names of ours hold no zero");
            // SAFETY: the module was loaded and is not unloaded before this is dropped.
            let function = unsafe { cu::module::get_function(module, name) };
            functions.insert(kernel.name, function.map_err(failed("looking for a kernel"))?);
        }
        let properties = Properties { name, compute: (major, minor), memory_bytes };
        Ok(Self { device, context, module, functions, properties, order: Mutex::new(()) })
    }

    /// Makes the context current in this thread and keeps others out.
    fn enter(&self) -> Result<std::sync::MutexGuard<'_, ()>, Error> {
        let order = self.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: the context is ours until this is dropped.
        unsafe { cu::ctx::set_current(self.context) }.map_err(failed("using its context"))?;
        Ok(order)
    }
}

impl Backend for CudaBackend {
    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        let _order = self.enter()?;
        // SAFETY: a plain allocation; it is zeroed below, and released by `Buffer`.
        let address = match unsafe { cu::malloc_sync(bytes) } {
            Ok(address) => address,
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let free = cu::mem_get_info().map_err(failed("asking its memory"))?.0;
                return Err(Error::Memory { wanted: bytes, free });
            }
            Err(error) => return Err(failed("taking memory")(error)),
        };
        // SAFETY: the memory was just given to us.
        unsafe { cu::memset_d8_sync(address, 0, bytes) }.map_err(failed("zeroing memory"))?;
        Ok(address)
    }

    fn release(&self, address: u64) {
        let Ok(_order) = self.enter() else { return };
        // SAFETY: `allocate` gave it, and `Buffer` gives it back once. An error has no taker here.
        let _ = unsafe { cu::free_sync(address) };
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let _order = self.enter()?;
        // SAFETY: `Buffer` checked that the memory is its own.
        unsafe { cu::memcpy_htod_sync(address, bytes) }.map_err(failed("copying to the device"))
    }

    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Error> {
        let _order = self.enter()?;
        // SAFETY: as above. The default stream waits for the kernels before it.
        unsafe { cu::memcpy_dtoh_sync(to, address) }.map_err(failed("copying from the device"))
    }

    fn launch(&self, kernel: Kernel, grid: [usize; 3], arguments: &Arguments) -> Result<(), Error> {
        let _order = self.enter()?;
        let [x, y, z] = grid.map(|n| u32::try_from(n).expect("grids have 32 bits"));
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let function = self.functions[kernel.name];
        let mut parameters = [arguments.words().as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the kernel takes one argument, a struct no larger than these words, which the driver copies
        // before the call returns; `kernels` checked the memory that it names.
        unsafe {
            cu::launch_kernel(
                function,
                (x, y, z),
                (kernel.threads, 1, 1),
                0,
                std::ptr::null_mut(),
                &mut parameters,
            )
        }
        .map_err(failed("starting a kernel"))
    }

    fn free_bytes(&self) -> Result<usize, Error> {
        let _order = self.enter()?;
        Ok(cu::mem_get_info().map_err(failed("asking its memory"))?.0)
    }
}

impl Drop for CudaBackend {
    fn drop(&mut self) {
        if self.enter().is_ok() {
            // SAFETY: nobody has buffers or launches any more, each holds this alive. Errors have no taker.
            unsafe {
                let _ = cu::module::unload(self.module);
                let _ = cu::primary_ctx::release(self.device);
            }
        }
    }
}

/// Compiles the kernels for an architecture, with `more` options: `sm_…` gives machine code, `compute_…` PTX.
///
/// Returns the image and what the compiler remarked. Errors: [`Error::NoCompiler`] without NVRTC,
/// [`Error::Compile`] with what it said.
pub(crate) fn compile(target: &str, more: &[&str]) -> Result<(Vec<u8>, String), Error> {
    // SAFETY: tries to load the library and keeps nothing.
    if !unsafe { rtc_sys::is_culib_present() } {
        return Err(Error::NoCompiler);
    }
    let refuse = |log: String| Error::Compile { target: target.to_owned(), log };
    let why = |error: rtc::NvrtcError| refuse(error.to_string());
    let source = CString::new(SOURCE).expect("sources of ours hold no zero");
    let program = rtc::create_program(&source, Some(c"openledger.cu")).map_err(why)?;
    let mut options = vec![format!("--gpu-architecture={target}")];
    options.extend(OPTIONS.iter().chain(more).map(|option| (*option).to_owned()));
    // SAFETY: the program was created above and is destroyed below; results are as long as the library says.
    unsafe {
        let compiled = rtc::compile_program(program, &options);
        let log = rtc::get_program_log(program).unwrap_or_default();
        let image = compiled.and_then(|()| {
            if target.starts_with("sm_") { machine_code(program) } else { ptx(program) }
        });
        let _ = rtc::destroy_program(program);
        let log = if log.is_empty() {
            String::new()
        } else {
            CStr::from_ptr(log.as_ptr()).to_string_lossy().trim().to_owned()
        };
        match image {
            Ok(image) => Ok((image, log)),
            Err(error) => Err(refuse(format!("{error}\n{log}"))),
        }
    }
}

/// # Safety
/// The program was compiled.
unsafe fn ptx(program: rtc_sys::nvrtcProgram) -> Result<Vec<u8>, rtc::NvrtcError> {
    // SAFETY: by the caller's promise.
    Ok(unsafe { rtc::get_ptx(program) }?.into_iter().map(|c| c as u8).collect())
}

/// # Safety
/// The program was compiled for an architecture of its own.
unsafe fn machine_code(program: rtc_sys::nvrtcProgram) -> Result<Vec<u8>, rtc::NvrtcError> {
    let mut bytes = 0;
    // SAFETY: by the caller's promise; the buffer is as long as the library says.
    unsafe {
        rtc_sys::nvrtcGetCUBINSize(program, &mut bytes).result()?;
        let mut image = vec![0u8; bytes];
        rtc_sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result()?;
        Ok(image)
    }
}
