//! The memory allocator of the binaries: jemalloc, in large pages.
//!
//! A step of serving reads weights, adapters, keys and values of hundreds of MiB. In pages of 4 KiB the processor
//! looks up where each of them lies, in a guest through two tables; in pages of 2 MiB hardly ever. Linux gives large
//! pages to whoever asks for them, and jemalloc asks for all that it manages. What is freed goes back to the system
//! within seconds, by a thread of jemalloc's own.
//!
//! A binary takes it by `use openledger_allocator as _;`. Elsewhere than on Linux it changes nothing.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod jemalloc {
    #[global_allocator]
    static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    /// What jemalloc reads when it starts; `_RJEM_MALLOC_CONF` in the environment comes after it.
    // SAFETY: the name is the one that jemalloc declares with this type, and nothing else defines it.
    #[unsafe(export_name = "_rjem_malloc_conf")]
    static CONF: Option<&'static std::ffi::c_char> = {
        let conf = c"thp:always,background_thread:true";
        // SAFETY: a string of C that lives as long as the program.
        Some(unsafe { &*conf.as_ptr() })
    };
}

#[cfg(test)]
mod tests {
    /// Of all mappings of this process, those that the system may give large pages to ("hg"), in KiB.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn asked_for_large_pages() -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let (mut size, mut total) = (0, 0);
        for line in smaps.lines() {
            if let Some(kib) = line.strip_prefix("Size:") {
                size = kib.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            } else if let Some(flags) = line.strip_prefix("VmFlags:")
                && flags.split(' ').any(|flag| flag == "hg")
            {
                total += size;
            }
        }
        total
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn memory_is_asked_for_in_large_pages() {
        let memory = vec![1u8; 64 << 20];
        assert!(asked_for_large_pages() >= memory.len() >> 10, "{}", asked_for_large_pages());
    }
}
