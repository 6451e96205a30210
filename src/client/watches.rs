//! What a client watches, so that it can tell the next server after a reconnect. Pure.
//! Java: `ZKWatchManager`.

use std::collections::BTreeSet;

use crate::wire::op::WatcherType;
use crate::wire::proto::SetWatches2;
use crate::wire::{ErrorCode, EventType};

/// Paths handed to one setWatches2 may add up to so many bytes: a request must stay well below the
/// server's `jute.maxbuffer`. Java's client uses the same bound.
const BATCH_BYTES: usize = 128 << 10;

/// How a node is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Data,
    /// By `exists`; on a node that was not there.
    Exist,
    Child,
    Persistent,
    PersistentRecursive,
}

/// A watch that a request asks for, set when its reply is known.
#[derive(Debug, Clone)]
pub struct Wish {
    pub kind: Kind,
    /// As the server knows it.
    pub path: String,
}

/// Every watch of a session, by kind; server paths.
#[derive(Debug, Default)]
pub struct Watches {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

impl Watches {
    fn set(&mut self, kind: Kind) -> &mut BTreeSet<String> {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Exist => &mut self.exist,
            Kind::Child => &mut self.child,
            Kind::Persistent => &mut self.persistent,
            Kind::PersistentRecursive => &mut self.recursive,
        }
    }

    /// Notes what the server registered when it answered with `err`: an `exists` of a missing node
    /// leaves a watch too.
    pub fn answered(&mut self, wish: Wish, err: i32) {
        match (wish.kind, err) {
            (Kind::Exist, 0) => self.data.insert(wish.path),
            (Kind::Exist, err) if err == ErrorCode::NoNode.code() => self.exist.insert(wish.path),
            (kind, 0) => self.set(kind).insert(wish.path),
            _ => false,
        };
    }

    /// Drops the one-shot watches that an event uses up.
    pub fn fired(&mut self, event: i32, path: &str) {
        const CREATED: i32 = EventType::NodeCreated as i32;
        const CHANGED: i32 = EventType::NodeDataChanged as i32;
        const DELETED: i32 = EventType::NodeDeleted as i32;
        const CHILDREN: i32 = EventType::NodeChildrenChanged as i32;
        if matches!(event, CREATED | CHANGED | DELETED) {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if matches!(event, CHILDREN | DELETED) {
            self.child.remove(path);
        }
    }

    fn kinds(which: WatcherType) -> &'static [Kind] {
        match which {
            WatcherType::Children => &[Kind::Child],
            WatcherType::Data => &[Kind::Data, Kind::Exist],
            WatcherType::Persistent => &[Kind::Persistent],
            WatcherType::PersistentRecursive => &[Kind::PersistentRecursive],
            WatcherType::Any => {
                &[Kind::Child, Kind::Data, Kind::Exist, Kind::Persistent, Kind::PersistentRecursive]
            }
        }
    }

    /// Whether a path is watched in a way that `which` covers.
    pub fn has(&mut self, which: WatcherType, path: &str) -> bool {
        Self::kinds(which).iter().any(|&kind| self.set(kind).contains(path))
    }

    /// Drops the watches that `which` covers; gives the events that say so.
    pub fn remove(&mut self, which: WatcherType, path: &str) -> Vec<EventType> {
        let mut events = Vec::new();
        for &kind in Self::kinds(which) {
            let event = match kind {
                Kind::Child => EventType::ChildWatchRemoved,
                Kind::Data | Kind::Exist => EventType::DataWatchRemoved,
                Kind::Persistent | Kind::PersistentRecursive => EventType::PersistentWatchRemoved,
            };
            if self.set(kind).remove(path) && events.last() != Some(&event) {
                events.push(event);
            }
        }
        events
    }

    /// The requests that register everything with another server.
    pub fn to_requests(&self, last_zxid: i64) -> Vec<SetWatches2> {
        let sets = [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive];
        let fresh = || SetWatches2 { relative_zxid: last_zxid, ..SetWatches2::default() };
        let (mut requests, mut batch, mut bytes) = (Vec::new(), fresh(), 0);
        for (i, set) in sets.into_iter().enumerate() {
            for path in set {
                let lists = [
                    &mut batch.data,
                    &mut batch.exist,
                    &mut batch.child,
                    &mut batch.persistent,
                    &mut batch.persistent_recursive,
                ];
                lists[i].push(path.clone());
                bytes += path.len();
                if bytes >= BATCH_BYTES {
                    requests.push(std::mem::replace(&mut batch, fresh()));
                    bytes = 0;
                }
            }
        }
        if batch != fresh() {
            requests.push(batch);
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watches(list: &[(Kind, &str, i32)]) -> Watches {
        let mut watches = Watches::default();
        for &(kind, path, err) in list {
            watches.answered(Wish { kind, path: path.into() }, err);
        }
        watches
    }

    #[test]
    fn one_shot_watches_go_and_persistent_ones_stay() {
        let mut w = watches(&[
            (Kind::Data, "/a", 0),
            (Kind::Data, "/no", -101),
            (Kind::Exist, "/no", -101),
            (Kind::Child, "/a", 0),
            (Kind::Persistent, "/a", 0),
        ]);
        assert!(!w.data.contains("/no") && w.exist.contains("/no"));
        w.fired(EventType::NodeDataChanged as i32, "/a");
        assert!(!w.has(WatcherType::Data, "/a") && w.has(WatcherType::Children, "/a"));
        w.fired(EventType::NodeDeleted as i32, "/a");
        assert!(!w.has(WatcherType::Children, "/a") && w.has(WatcherType::Any, "/a"));
    }

    #[test]
    fn removal_says_what_it_removed() {
        let all = [(Kind::Data, "/a", 0), (Kind::Child, "/a", 0), (Kind::Persistent, "/a", 0)];
        let mut w = watches(&all);
        assert_eq!(w.remove(WatcherType::Data, "/a"), [EventType::DataWatchRemoved]);
        assert_eq!(
            w.remove(WatcherType::Any, "/a"),
            [EventType::ChildWatchRemoved, EventType::PersistentWatchRemoved]
        );
        assert!(w.remove(WatcherType::Any, "/a").is_empty());
    }

    #[test]
    fn everything_is_registered_again_in_batches() {
        assert!(watches(&[]).to_requests(1).is_empty());
        let long = format!("/{}", "x".repeat(100 << 10));
        let w = watches(&[
            (Kind::Data, &long, 0),
            (Kind::Exist, &long, -101),
            (Kind::PersistentRecursive, "/r", 0),
        ]);
        let requests = w.to_requests(7);
        assert_eq!(requests.len(), 2);
        assert_eq!((requests[0].relative_zxid, &requests[0].exist[0]), (7, &long));
        assert_eq!(requests[1].persistent_recursive, ["/r"]);
    }
}
