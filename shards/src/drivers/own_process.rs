//! Tests that change their whole process (limits, user, system call filter) run in one of their own.

use std::process::Command;

/// Runs an `#[ignore]`d test of this binary, by its path from the crate, in a process of its own; panics with its output if it fails.
pub fn run_test(path: &str) {
    let this = std::env::current_exe().expect("the test binary has a path");
    let arguments = ["--exact", path, "--ignored", "--nocapture"];
    let child = Command::new(this).args(arguments).output().expect("this binary starts");
    let (output, errors) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && output.contains("1 passed"), "{}\n{output}\n{errors}", child.status);
}
