//! What `--io auto` makes of machines on which io_uring is forbidden, crippled or short of memory. Each in a process of its own.

use super::*;
use crate::drivers::own_process::run_test;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Makes these system calls fail with `errno` for the calling thread and those that it starts: what container runtimes do.
fn deny(calls: &[i64], errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)]; // the call's number
    for call in calls {
        let equal = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32);
        filter.push(libc::sock_filter { jt: 0, jf: 1, ..equal });
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its statements outlive the calls, which copy them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

const RING_CALLS: [i64; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Auto takes epoll and its reason says this; asking for glommio is an error that says it too.
fn expect_epoll(because: &str) {
    let chosen = choose(IoChoice::Auto).expect("auto always finds one");
    assert_eq!(chosen.driver, Driver::Epoll);
    assert!(chosen.why.contains(because), "{}", chosen.why);
    let error = choose(IoChoice::Glommio).expect_err("it cannot run").to_string();
    assert!(error.contains(because) && error.contains("--io epoll"), "{error}");
    assert_eq!(choose(IoChoice::Epoll).expect("it needs nothing").driver, Driver::Epoll);
}

fn limit_locked_memory(bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Memlock, limit).expect("a lower limit is always allowed");
}

/// Becomes nobody, unless it is nobody of importance already.
fn drop_privileges() {
    const NOBODY: u32 = 65_534;
    if rustix::process::geteuid().is_root() {
        // SAFETY: plain calls; the libc wrappers change all threads of this test's own process.
        unsafe {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setgid(NOBODY), 0);
            assert_eq!(libc::setuid(NOBODY), 0);
        }
    }
    assert!(!rustix::process::geteuid().is_root());
}

macro_rules! in_own_process {
    ($($name:ident => $inner:ident $body:block)*) => {$(
        #[test]
        fn $name() {
            run_test(concat!("drivers::probe::tests::", stringify!($inner)));
        }
        #[test]
        #[ignore = "changes its process: run by the test of the longer name"]
        fn $inner() $body
    )*};
}

in_own_process! {
    a_filter_that_forbids_io_uring_leads_to_epoll => filtered_as_docker_does {
        deny(&RING_CALLS, libc::EPERM);
        expect_epoll("not permitted");
    }
    a_sandbox_without_io_uring_leads_to_epoll => filtered_as_gvisor_does {
        deny(&RING_CALLS, libc::ENOSYS);
        expect_epoll("has no io_uring");
    }
    a_ring_that_cannot_register_leads_to_epoll => filtered_register {
        deny(&RING_CALLS[2..], libc::EPERM);
        expect_epoll("not permitted");
    }
    a_ring_that_cannot_be_entered_leads_to_epoll => filtered_enter {
        deny(&RING_CALLS[1..2], libc::EPERM);
        expect_epoll("not permitted");
    }
    an_ordinary_user_with_little_locked_memory_gets_epoll_and_advice => little_locked_memory {
        limit_locked_memory(64 * 1024);
        drop_privileges();
        expect_epoll("only 64 KiB of memory may be locked");
    }
    an_ordinary_user_with_the_usual_limit_gets_the_ring => usual_locked_memory {
        limit_locked_memory(8 * 1024 * 1024);
        drop_privileges();
        let chosen = choose(IoChoice::Auto).expect("auto always finds one");
        assert_eq!(chosen.driver, Driver::Glommio, "{}", chosen.why);
        choose(IoChoice::Glommio).expect("it runs");
    }
}

#[test]
fn the_check_leaves_nothing_behind() {
    glommio::check().expect("this machine has io_uring");
    run_test("drivers::probe::tests::descriptors_after_checks");
}

#[test]
#[ignore = "counts its process's descriptors: run by the test above"]
fn descriptors_after_checks() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count();
    glommio::check().expect("this machine has io_uring");
    let before = descriptors();
    (0..5).for_each(|_| glommio::check().expect("this machine has io_uring"));
    // The executor's helper thread lets go of its own a moment later.
    let start = std::time::Instant::now();
    while descriptors() > before {
        assert!(start.elapsed().as_secs() < 10, "{} descriptors, {before} before", descriptors());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
