//! What the histories have gone through. A run that has seen too little is no proof, and fails.

use std::ops::AddAssign;

macro_rules! coverage {
    ($($name:ident: $least:literal),* $(,)?) => {
        /// How often each thing happened.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Coverage {
            $(pub $name: u64,)*
        }

        impl AddAssign for Coverage {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl Coverage {
            /// What happened less often than once in so many histories; nothing is asked of those
            /// with 0.
            pub fn lacking(&self, histories: u64) -> Vec<String> {
                let mut lacking = Vec::new();
                $(if $least > 0 && self.$name < histories * $least / 100 {
                    lacking.push(format!("{}: {}", stringify!($name), self.$name));
                })*
                lacking
            }
        }

        impl std::fmt::Display for Coverage {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(writeln!(f, "{:>22} {:>10}", stringify!($name).replace('_', " "), self.$name)?;)*
                Ok(())
            }
        }
    };
}

// The number: the least expected in a hundred histories.
coverage! {
    leaders: 200,
    epochs_used_up: 5,
    diffs: 100,
    truncs: 5,
    log_searches: 50,
    diffs_from_disk: 50,
    snaps: 50,
    observer_masters: 20,
    kills: 50,
    power_cuts: 50,
    crashes_in_disk_op: 20,
    crashes_between_outputs: 20,
    partitions: 50,
    links_cut: 20,
    pauses: 20,
    blackouts: 10,
    restarts: 200,
    reloads: 5,
    snapshots: 100,
    acked_writes: 10_000,
    unknown_writes: 100,
    failed_writes: 100,
    reads: 1_000,
    watch_events: 100,
    sessions: 200,
    sessions_moved: 50,
    sessions_expired: 5,
    reconfigs: 50,
    role_changes: 10,
    lost_in_reconfig: 5,
    locked_out: 5,
}
