//! What the allocator holds and nobody uses.

/// Gives the pages that nothing lives on back to the system. The allocator does so by itself only at the end of its heap, where something nearly
/// always lives. Takes milliseconds per hundred mebibytes: for the end of a start.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
