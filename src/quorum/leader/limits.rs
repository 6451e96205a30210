//! What a leader bounds: how many learners it brings up to date at a time, and how many
//! transactions an epoch can have. Java: `Leader.propose`.

use super::{LeaderCore, LeaderOutput, LinkId, SyncKind, learners};
use crate::wire::{QuorumPacket, counter_of};

/// The last counter that an epoch uses. Java, too, leaves the very last one alone.
pub const LAST_COUNTER: u32 = 0xffff_fffe;

/// A warning every so many transactions, once this much of an epoch is used up.
const WARN_FROM: u32 = 0xc000_0000;
const WARN_EVERY: u32 = 0x0100_0000;

impl LeaderCore {
    /// Whether a learner that is to be synchronised may be so now; it is sent away otherwise, and
    /// will try again. Followers always may: the quorum may need them.
    pub fn begin_sync(
        &mut self,
        link: LinkId,
        kind: SyncKind,
        out: &mut Vec<LeaderOutput>,
    ) -> bool {
        let limits = self.settings.sync_limits;
        match learners::begin_sync(&mut self.learners, link, kind, limits) {
            Ok(()) => true,
            Err(reason) => {
                self.close(link, reason, out);
                false
            }
        }
    }

    /// See [`learners::syncing`].
    pub fn syncing(&self, kind: SyncKind) -> usize {
        learners::syncing(&self.learners, kind)
    }

    /// See [`learners::ends_sync`].
    pub fn ends_sync(&self, link: LinkId, packet: &QuorumPacket) -> Option<SyncKind> {
        learners::ends_sync(&self.learners, link, packet)
    }

    /// Whether the epoch has no transaction left. This server then leads until what is proposed is
    /// committed, and hands over to the next epoch.
    pub fn is_used_up(&self) -> bool {
        counter_of(self.last_proposed) >= self.settings.last_counter
    }

    /// Transactions left in this epoch.
    pub fn zxids_left(&self) -> u32 {
        self.settings.last_counter.saturating_sub(counter_of(self.last_proposed))
    }

    pub(super) fn warn_of_end(&self) {
        if self.is_worth_a_warning() {
            let left = self.zxids_left();
            log::warn!("{left} transactions are left in this epoch; then there is an election");
        }
    }

    fn is_worth_a_warning(&self) -> bool {
        let used = counter_of(self.last_proposed);
        used >= WARN_FROM && used % WARN_EVERY == 0
    }

    /// Steps down when the epoch is used up and everything in it is committed.
    pub(super) fn end_used_up_epoch(&mut self, out: &mut Vec<LeaderOutput>) {
        if self.is_used_up() && self.outstanding.is_empty() {
            let reason = "zxid lower 32 bits have rolled over, forcing re-election, \
                          and therefore new epoch start";
            self.step_down(reason.into(), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::QuorumConfig;
    use crate::quorum::leader::{Configs, LeaderSettings, Stage, StateSummary, SyncLimits};
    use crate::wire::epoch_start;

    /// A leader of one, established in epoch 1.
    fn leader() -> LeaderCore {
        let settings = LeaderSettings {
            my_id: 1,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            reconfig_enabled: false,
            sync_limits: SyncLimits { snapshots: 1, diffs: 2 },
            last_counter: LAST_COUNTER,
        };
        let text = "server.1=127.0.0.1:2:3:participant;4\nversion=0";
        let config = Arc::new(QuorumConfig::parse(text, false).unwrap());
        let configs = Configs { committed: Arc::clone(&config), last_seen: config };
        let mine = StateSummary { current_epoch: 0, last_zxid: 0 };
        let mut core = LeaderCore::new(settings, configs, 0, mine, 0, &mut Vec::new());
        core.accepted_epoch_durable(0, &mut Vec::new());
        core.current_epoch_durable(0, &mut Vec::new());
        assert!(core.is_established());
        core
    }

    #[test]
    fn zookeeper_1277_an_epoch_ends_when_its_last_transaction_is_committed() {
        let mut core = leader();
        let last = epoch_start(1) + i64::from(LAST_COUNTER);
        core.last_proposed = last - 2;
        core.logged = last - 2;
        let (mut out, bytes) = (Vec::new(), || Arc::from(&b"txn"[..]));
        core.propose(last - 1, bytes(), &mut out);
        assert!(!core.is_used_up());
        core.propose(last, bytes(), &mut out);
        assert!(core.is_used_up());
        let steps_down =
            |out: &[LeaderOutput]| out.iter().any(|o| matches!(o, LeaderOutput::StepDown { .. }));
        core.logged(last - 1, &mut out);
        assert!(!steps_down(&out), "the last transaction is not committed yet");
        core.logged(last, &mut out);
        let [.., LeaderOutput::Commit { zxid }, LeaderOutput::StepDown { .. }] = &out[..] else {
            panic!("{out:?}")
        };
        assert_eq!(*zxid, last);
    }

    #[test]
    fn the_end_of_an_epoch_is_told_of_from_its_last_quarter_on() {
        let mut core = leader();
        let mut at = |counter: u32| {
            core.last_proposed = epoch_start(1) + i64::from(counter);
            (core.zxids_left(), core.is_worth_a_warning())
        };
        assert_eq!(at(0), (0xffff_fffe, false));
        assert_eq!(at(0xbf00_0000), (0x40ff_fffe, false), "three quarters are not used yet");
        assert_eq!(at(0xc000_0000), (0x3fff_fffe, true));
        assert_eq!(at(0xc000_0001), (0x3fff_fffd, false));
        assert_eq!(at(0xff00_0000), (0x00ff_fffe, true));
        assert_eq!(at(LAST_COUNTER - 1), (1, false));
        assert_eq!(at(LAST_COUNTER), (0, false));
        assert_eq!(at(u32::MAX), (0, false));
    }

    #[test]
    fn observers_wait_their_turn_and_followers_do_not() {
        use SyncKind::{Snapshot, Transactions};
        let mut core = leader();
        let mut out = Vec::new();
        let mut begin = |core: &mut LeaderCore, link, observer, kind| {
            core.connected(link, 0);
            let learner = core.learners.get_mut(&link).unwrap();
            (learner.observer, learner.stage) = (observer, Stage::Syncing);
            core.begin_sync(link, kind, &mut out)
        };
        assert!(begin(&mut core, 1, true, Snapshot));
        assert!(!begin(&mut core, 2, true, Snapshot));
        assert!(begin(&mut core, 3, false, Snapshot));
        assert!(begin(&mut core, 4, true, Transactions));
        assert!(begin(&mut core, 5, false, Transactions));
        assert!(!begin(&mut core, 6, true, Transactions), "the follower counts, too");
        // Synchronised: the next one may.
        core.learners.get_mut(&4).unwrap().stage = Stage::Active;
        assert!(begin(&mut core, 7, true, Transactions));
        let closed = |o: &LeaderOutput| matches!(o, LeaderOutput::Close { link: 2 | 6, .. });
        assert!(out.len() == 2 && out.iter().all(closed), "{out:?}");
        assert!(core.learners.keys().copied().eq([1, 3, 4, 5, 7]));
    }
}
