//! Who waits for changes of what. Two tables as in Java: *data* watches (getData, exists) and
//! *child* watches (getChildren); persistent watches are in both, recursive ones in the data table
//! (C-165 … C-171). A watcher is a connection, known here by a number.
//! Java: `WatchManager`, `WatcherMode`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::wire::op::WatcherType;
use crate::wire::proto::SetWatches2;
use crate::wire::{Acl, EventType};

use super::{DataTree, Trigger};
use crate::hash::Seed;

/// A connection that watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u64);

/// The kinds of watches that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchKind {
    /// One event about the node: getData, exists.
    Data,
    /// One event about the node's children: getChildren.
    Child,
    /// Every event about the node and its children.
    Persistent,
    /// Every event but children's about the node and all below it.
    PersistentRecursive,
}

/// The modes in which one watcher watches one path in one table: a bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes(u8);

impl Modes {
    const STANDARD: Self = Self(1);
    const PERSISTENT: Self = Self(2);
    const RECURSIVE: Self = Self(4);
    const ALL: Self = Self(7);

    fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The watchers of one path: mostly one, sometimes thousands.
#[derive(Debug)]
enum Watchers {
    One(WatcherId, Modes),
    Many(BTreeMap<WatcherId, Modes>),
}

impl Watchers {
    fn get(&self, watcher: WatcherId) -> Option<Modes> {
        match self {
            Self::One(w, modes) => (*w == watcher).then_some(*modes),
            Self::Many(map) => map.get(&watcher).copied(),
        }
    }

    /// Sets a watcher's modes; none at all removes it. Returns whether anybody is left.
    fn set(&mut self, watcher: WatcherId, modes: Modes) -> bool {
        match self {
            Self::One(w, old) if *w == watcher => *old = modes,
            Self::One(w, old) => {
                *self = Self::Many(BTreeMap::from([(*w, *old), (watcher, modes)]));
            }
            Self::Many(map) => _ = map.insert(watcher, modes),
        }
        if modes.0 != 0 {
            return true;
        }
        match self {
            Self::One(..) => false,
            Self::Many(map) => {
                map.remove(&watcher);
                !map.is_empty()
            }
        }
    }

    /// Uses up the standard watches. Calls `told` with everybody here, and whether that was all
    /// they had. Returns whether anybody is left.
    fn spend(&mut self, mut told: impl FnMut(WatcherId, bool)) -> bool {
        let mut stays = |watcher: WatcherId, modes: &mut Modes| {
            *modes = modes.without(Modes::STANDARD);
            told(watcher, modes.0 == 0);
            modes.0 != 0
        };
        match self {
            Self::One(watcher, modes) => stays(*watcher, modes),
            Self::Many(map) => {
                map.retain(|watcher, modes| stays(*watcher, modes));
                !map.is_empty()
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (WatcherId, Modes)> {
        let (one, many) = match self {
            Self::One(watcher, modes) => (Some((*watcher, *modes)), None),
            Self::Many(map) => (None, Some(map)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(w, m)| (*w, *m)))
    }
}

/// One manager. The text of a path is shared between the two maps.
#[derive(Debug)]
struct Table {
    seed: Seed,
    by_path: HashMap<Arc<str>, Watchers, Seed>,
    by_watcher: PathsOf,
    /// Entries (a path and a watcher), and how many of them are recursive.
    count: usize,
    recursive: usize,
}

impl Table {
    fn new(seed: Seed) -> Self {
        Self {
            seed,
            by_path: HashMap::with_hasher(seed),
            by_watcher: HashMap::with_hasher(seed),
            count: 0,
            recursive: 0,
        }
    }

    fn get(&self, path: &str, watcher: WatcherId) -> Modes {
        self.by_path.get(path).and_then(|w| w.get(watcher)).unwrap_or(Modes(0))
    }

    fn add(&mut self, path: &str, watcher: WatcherId, mode: Modes) {
        let old = self.get(path, watcher);
        let new = Modes(old.0 | mode.0);
        if old.0 == 0 {
            self.count += 1;
            let path: Arc<str> = match self.by_path.get_key_value(path) {
                Some((path, _)) => path.clone(),
                None => path.into(),
            };
            let seed = self.seed;
            let paths = self.by_watcher.entry(watcher);
            paths.or_insert_with(|| HashSet::with_hasher(seed)).insert(path.clone());
            let watchers = self.by_path.entry(path).or_insert(Watchers::One(watcher, new));
            watchers.set(watcher, new);
        } else if let Some(watchers) = self.by_path.get_mut(path) {
            watchers.set(watcher, new);
        }
        let became_recursive = !old.has_any(Modes::RECURSIVE) && new.has_any(Modes::RECURSIVE);
        self.recursive += usize::from(became_recursive);
    }

    /// Takes modes away. Returns whether there was anything to take.
    fn remove(&mut self, path: &str, watcher: WatcherId, modes: Modes) -> bool {
        let old = self.get(path, watcher);
        let new = old.without(modes);
        if new == old {
            return false;
        }
        if let Some(watchers) = self.by_path.get_mut(path)
            && !watchers.set(watcher, new)
        {
            self.by_path.remove(path);
        }
        self.taken(old, new);
        if new.0 == 0 {
            forget(&mut self.by_watcher, watcher, path);
        }
        true
    }

    fn taken(&mut self, old: Modes, new: Modes) {
        self.count -= usize::from(new.0 == 0);
        let was_recursive = old.has_any(Modes::RECURSIVE) && !new.has_any(Modes::RECURSIVE);
        self.recursive -= usize::from(was_recursive);
    }

    fn remove_watcher(&mut self, watcher: WatcherId) {
        for path in self.by_watcher.remove(&watcher).into_iter().flatten() {
            let Some(watchers) = self.by_path.get_mut(&path) else { continue };
            let old = watchers.get(watcher).unwrap_or(Modes(0));
            if !watchers.set(watcher, Modes(0)) {
                self.by_path.remove(&path);
            }
            self.taken(old, Modes(0));
        }
    }

    /// Puts all who are to hear of a change at `path` into `found`, in order, each once. Standard
    /// watches are used up by it.
    fn collect(&mut self, path: &str, found: &mut Vec<WatcherId>) {
        found.clear();
        if let Some(watchers) = self.by_path.get_mut(path) {
            let left = watchers.spend(|watcher, spent| {
                found.push(watcher);
                if spent {
                    self.count -= 1;
                    forget(&mut self.by_watcher, watcher, path);
                }
            });
            if !left {
                self.by_path.remove(path);
            }
        }
        if self.recursive > 0 {
            self.collect_recursive(path, found);
        }
    }

    /// Adds those who watch an ancestor of `path` and all below it.
    fn collect_recursive(&self, path: &str, found: &mut Vec<WatcherId>) {
        let here = found.len();
        let mut below = path;
        while let Some((parent, _)) = below.rsplit_once('/').filter(|_| below != "/") {
            below = if parent.is_empty() { "/" } else { parent };
            let watchers = self.by_path.get(below).into_iter().flat_map(Watchers::iter);
            found.extend(watchers.filter(|(_, m)| m.has_any(Modes::RECURSIVE)).map(|(w, _)| w));
        }
        if found.len() > here {
            found.sort_unstable();
            found.dedup();
        }
    }
}

type PathsOf = HashMap<WatcherId, HashSet<Arc<str>, Seed>, Seed>;

/// Takes a path off the list of a watcher.
fn forget(by_watcher: &mut PathsOf, watcher: WatcherId, path: &str) {
    let Some(paths) = by_watcher.get_mut(&watcher) else { return };
    paths.remove(path);
    if paths.is_empty() {
        by_watcher.remove(&watcher);
    }
}

/// What `wchs` prints, of the data table (A-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSummary {
    pub connections: usize,
    pub paths: usize,
    pub watches: usize,
}

/// All watches of a server.
#[derive(Debug)]
pub struct Watches {
    data: Table,
    child: Table,
    /// Kept between triggers for their capacity.
    found: Vec<WatcherId>,
    found_child: Vec<WatcherId>,
}

impl Watches {
    pub fn new(seed: Seed) -> Self {
        Self {
            data: Table::new(seed),
            child: Table::new(seed),
            found: Vec::new(),
            found_child: Vec::new(),
        }
    }

    /// Sets a watch; modes of the same watcher at the same path add up.
    pub fn add(&mut self, path: &str, watcher: WatcherId, kind: WatchKind) {
        match kind {
            WatchKind::Data => self.data.add(path, watcher, Modes::STANDARD),
            WatchKind::Child => self.child.add(path, watcher, Modes::STANDARD),
            WatchKind::Persistent => {
                self.data.add(path, watcher, Modes::PERSISTENT);
                self.child.add(path, watcher, Modes::PERSISTENT);
            }
            WatchKind::PersistentRecursive => self.data.add(path, watcher, Modes::RECURSIVE),
        }
    }

    /// Calls `deliver` for every event that a change means to somebody: who, what, where, and the
    /// ACL by which they must be allowed to read. One-shot watches are used up, delivered or not.
    pub fn fire(
        &mut self,
        change: &Trigger<'_>,
        mut deliver: impl FnMut(WatcherId, EventType, &str, &Arc<[Acl]>),
    ) {
        if self.count() == 0 {
            return;
        }
        self.data.collect(change.path, &mut self.found);
        for &watcher in &self.found {
            deliver(watcher, change.kind, change.path, change.acl);
        }
        if change.kind == EventType::NodeDeleted {
            self.child.collect(change.path, &mut self.found_child);
            for &watcher in &self.found_child {
                if self.found.binary_search(&watcher).is_err() {
                    deliver(watcher, change.kind, change.path, change.acl);
                }
            }
        }
        if let Some(acl) = change.parent_acl {
            let parent = change.parent_path();
            self.child.collect(parent, &mut self.found_child);
            for &watcher in &self.found_child {
                deliver(watcher, EventType::NodeChildrenChanged, parent, acl);
            }
        }
    }

    /// Whether the watcher has a watch of that type there (checkWatches).
    pub fn contains(&self, path: &str, watcher: WatcherId, kind: WatcherType) -> bool {
        let data = self.data.get(path, watcher);
        match kind {
            WatcherType::Data => data.has_any(Modes::STANDARD),
            WatcherType::Children => self.child.get(path, watcher).has_any(Modes::STANDARD),
            WatcherType::Persistent => data.has_any(Modes::PERSISTENT),
            WatcherType::PersistentRecursive => data.has_any(Modes::RECURSIVE),
            WatcherType::Any => {
                data.has_any(Modes::ALL) || self.child.get(path, watcher).has_any(Modes::ALL)
            }
        }
    }

    /// Removes a watcher's watches of that type there (removeWatches). Returns whether there were
    /// any. Nothing is sent: the client tells its own watchers.
    pub fn remove(&mut self, path: &str, watcher: WatcherId, kind: WatcherType) -> bool {
        let mut both = |modes| {
            let data = self.data.remove(path, watcher, modes);
            self.child.remove(path, watcher, modes) || data
        };
        match kind {
            WatcherType::Persistent => both(Modes::PERSISTENT),
            WatcherType::Any => both(Modes::ALL),
            WatcherType::Data => self.data.remove(path, watcher, Modes::STANDARD),
            WatcherType::Children => self.child.remove(path, watcher, Modes::STANDARD),
            WatcherType::PersistentRecursive => self.data.remove(path, watcher, Modes::RECURSIVE),
        }
    }

    /// The connection is gone, and all its watches with it.
    pub fn remove_watcher(&mut self, watcher: WatcherId) {
        self.data.remove_watcher(watcher);
        self.child.remove_watcher(watcher);
    }

    /// Watches in both tables, one per path and watcher: the metric `watch_count`.
    pub fn count(&self) -> usize {
        self.data.count + self.child.count
    }

    pub fn summary(&self) -> WatchSummary {
        WatchSummary {
            connections: self.data.by_watcher.len(),
            paths: self.data.by_path.len(),
            watches: self.data.count,
        }
    }

    /// The data table by watcher, for `wchc`.
    pub fn by_watcher(&self) -> impl Iterator<Item = (WatcherId, impl Iterator<Item = &str>)> {
        self.data.by_watcher.iter().map(|(w, paths)| (*w, paths.iter().map(|p| &**p)))
    }

    /// The data table by path, for `wchp`.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = WatcherId>)> {
        self.data.by_path.iter().map(|(path, watchers)| (&**path, watchers.iter().map(|(w, _)| w)))
    }
}

/// What a client that comes back wants to watch (C-169). Returns the events for what it missed,
/// which need no permission; everything else is watched from now on.
pub fn set_watches(
    tree: &DataTree,
    watches: &mut Watches,
    watcher: WatcherId,
    request: &SetWatches2,
) -> Vec<(EventType, String)> {
    let mut missed = Vec::new();
    let seen = request.relative_zxid;
    let mut check =
        |paths: &[String], kind: WatchKind, event: &dyn Fn(&str) -> Option<EventType>| {
            for path in paths {
                match event(path) {
                    Some(event) => missed.push((event, path.clone())),
                    None => watches.add(path, watcher, kind),
                }
            }
        };
    let stat = |path: &str| tree.lookup(path).map(|id| tree.node(id).persisted());
    check(&request.data, WatchKind::Data, &|path| match stat(path) {
        None => Some(EventType::NodeDeleted),
        Some(stat) => (stat.mzxid > seen).then_some(EventType::NodeDataChanged),
    });
    check(&request.exist, WatchKind::Data, &|path| {
        tree.lookup(path).map(|_| EventType::NodeCreated)
    });
    check(&request.child, WatchKind::Child, &|path| match stat(path) {
        None => Some(EventType::NodeDeleted),
        Some(stat) => (stat.pzxid > seen).then_some(EventType::NodeChildrenChanged),
    });
    check(&request.persistent, WatchKind::Persistent, &|_| None);
    check(&request.persistent_recursive, WatchKind::PersistentRecursive, &|_| None);
    missed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeOptions;
    use crate::wire::txn::CreateTxn;
    use crate::wire::{Txn, TxnHeader};
    use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

    const A: WatcherId = WatcherId(1);
    const B: WatcherId = WatcherId(2);

    fn watches(set: &[(&str, WatcherId, WatchKind)]) -> Watches {
        let mut watches = Watches::new(Seed(1, 2));
        set.iter().for_each(|&(path, watcher, kind)| watches.add(path, watcher, kind));
        watches
    }

    fn fire(watches: &mut Watches, kind: EventType, path: &str) -> Vec<(u64, EventType, String)> {
        let [acl, of_parent] = [1, 2].map(|perms| Acl::world(perms).into());
        let parent_acl = (kind != NodeDataChanged).then_some(&of_parent);
        let change = Trigger { kind, path, zxid: 1, acl: &acl, parent_acl };
        let mut events = Vec::new();
        watches.fire(&change, |watcher, kind, path, acl| {
            assert_eq!(acl[0].perms == 2, kind == NodeChildrenChanged, "the ACL of the path");
            events.push((watcher.0, kind, path.to_string()));
        });
        events
    }

    #[track_caller]
    fn assert_fires(
        watches: &mut Watches,
        kind: EventType,
        path: &str,
        expected: &[(u64, EventType, &str)],
    ) {
        let events = fire(watches, kind, path);
        let events: Vec<_> = events.iter().map(|(w, kind, path)| (*w, *kind, &**path)).collect();
        assert_eq!(events, expected, "{kind:?} {path}");
    }

    #[test]
    fn standard_watches_fire_once() {
        let mut w = watches(&[("/a", A, WatchKind::Data), ("/a", B, WatchKind::Child)]);
        assert_eq!(w.count(), 2);
        assert_fires(&mut w, NodeDataChanged, "/a", &[(1, NodeDataChanged, "/a")]);
        assert_fires(&mut w, NodeDataChanged, "/a", &[]);
        assert_fires(&mut w, NodeCreated, "/a/b", &[(2, NodeChildrenChanged, "/a")]);
        assert_eq!(w.count(), 0);
        assert_eq!(w.summary(), WatchSummary { connections: 0, paths: 0, watches: 0 });
    }

    #[test]
    fn a_delete_tells_data_watchers_child_watchers_and_those_of_the_parent() {
        let mut w = watches(&[
            ("/a", A, WatchKind::Data),
            ("/a", A, WatchKind::Child),
            ("/a", B, WatchKind::Child),
            ("/", A, WatchKind::Child),
        ]);
        let expected =
            [(1, NodeDeleted, "/a"), (2, NodeDeleted, "/a"), (1, NodeChildrenChanged, "/")];
        assert_fires(&mut w, NodeDeleted, "/a", &expected);
        assert_eq!(w.count(), 0);
    }

    #[test]
    fn persistent_watches_stay() {
        let mut w = watches(&[("/a", A, WatchKind::Persistent), ("/a", A, WatchKind::Data)]);
        for _ in 0..2 {
            assert_fires(&mut w, NodeDataChanged, "/a", &[(1, NodeDataChanged, "/a")]);
            assert_fires(&mut w, NodeCreated, "/a/b", &[(1, NodeChildrenChanged, "/a")]);
            assert_fires(&mut w, NodeDeleted, "/a", &[(1, NodeDeleted, "/a")]);
        }
        assert_eq!(w.count(), 2);
        assert!(!w.contains("/a", A, WatcherType::Data), "the one-shot watch is used up");
    }

    #[test]
    fn recursive_watches_see_all_below_but_no_children_events() {
        let mut w = watches(&[
            ("/", A, WatchKind::PersistentRecursive),
            ("/a", A, WatchKind::PersistentRecursive),
            ("/a/b", B, WatchKind::Data),
        ]);
        assert_fires(&mut w, NodeCreated, "/a", &[(1, NodeCreated, "/a")]);
        let both = [(1, NodeDataChanged, "/a/b"), (2, NodeDataChanged, "/a/b")];
        assert_fires(&mut w, NodeDataChanged, "/a/b", &both);
        assert_fires(&mut w, NodeDeleted, "/a/b/c", &[(1, NodeDeleted, "/a/b/c")]);
        assert_fires(&mut w, NodeDataChanged, "/", &[(1, NodeDataChanged, "/")]);
        assert!(w.remove("/", A, WatcherType::PersistentRecursive));
        assert_fires(&mut w, NodeCreated, "/b", &[]);
        assert_fires(&mut w, NodeCreated, "/ab", &[]);
        w.remove_watcher(A);
        assert_eq!(w.data.recursive, 0);
    }

    /// Which watches each type of removeWatches takes, of a connection that has all of them.
    #[test]
    fn removal_by_type() {
        use WatcherType::*;
        let types = [Data, Children, Persistent, PersistentRecursive, Any];
        let left: [&[WatcherType]; 5] = [
            &[Children, Persistent, PersistentRecursive, Any],
            &[Data, Persistent, PersistentRecursive, Any],
            &[Data, Children, PersistentRecursive, Any],
            &[Data, Children, Persistent, Any],
            &[],
        ];
        for (kind, left) in types.into_iter().zip(left) {
            let kinds = [
                WatchKind::Data,
                WatchKind::Child,
                WatchKind::Persistent,
                WatchKind::PersistentRecursive,
            ];
            let mut w = watches(&kinds.map(|kind| ("/a", A, kind)));
            w.add("/a", B, WatchKind::Data);
            assert!(types.iter().all(|t| w.contains("/a", A, *t)));
            assert!(w.remove("/a", A, kind));
            assert!(!w.remove("/a", A, kind));
            let has: Vec<_> = types.into_iter().filter(|t| w.contains("/a", A, *t)).collect();
            assert_eq!(has, left, "after {kind:?}");
            assert!(w.contains("/a", B, Data), "others keep theirs");
            w.remove_watcher(A);
            assert_eq!((w.count(), w.data.recursive), (1, 0));
        }
    }

    #[test]
    fn thousands_on_one_node_and_one_on_thousands() {
        let mut w = watches(&[]);
        (0..2000).for_each(|i| w.add("/herd", WatcherId(i), WatchKind::Data));
        (0..2000).for_each(|i| w.add(&format!("/n{i}"), A, WatchKind::Child));
        assert_eq!(w.count(), 4000);
        assert_eq!(w.summary(), WatchSummary { connections: 2000, paths: 1, watches: 2000 });
        let mut listed: Vec<u64> =
            w.by_path().flat_map(|(_, watchers)| watchers.map(|w| w.0)).collect();
        listed.dedup();
        assert_eq!(listed.len(), 2000);
        assert!(w.by_watcher().all(|(_, paths)| paths.eq(["/herd"])));
        (0..1000).for_each(|i| w.remove_watcher(WatcherId(i)));
        assert_eq!(w.count(), 1000);
        assert_eq!(fire(&mut w, NodeDataChanged, "/herd").len(), 1000);
        assert_eq!(w.count(), 0);
    }

    #[test]
    fn set_watches_tells_what_was_missed_and_watches_the_rest() {
        let mut tree = DataTree::new(TreeOptions::default());
        for (zxid, path) in [(10, "/old"), (20, "/new"), (30, "/old/kid")] {
            let header = TxnHeader { zxid, ..TxnHeader::default() };
            let txn = Txn::Create(CreateTxn {
                path: path.into(),
                parent_cversion: -1,
                ..CreateTxn::default()
            });
            tree.apply(&header, &txn, &mut |_| {});
        }
        let mut w = watches(&[]);
        let paths = || ["/old", "/new", "/gone"].map(String::from).to_vec();
        let request = SetWatches2 {
            relative_zxid: 15,
            data: paths(),
            exist: paths(),
            child: paths(),
            persistent: vec!["/p".into()],
            persistent_recursive: vec!["/r".into()],
        };
        let missed = set_watches(&tree, &mut w, A, &request);
        let missed: Vec<_> = missed.iter().map(|(event, path)| (*event, &**path)).collect();
        let expected = [
            (NodeDataChanged, "/new"),
            (NodeDeleted, "/gone"),
            (NodeCreated, "/old"),
            (NodeCreated, "/new"),
            (NodeChildrenChanged, "/old"),
            (NodeChildrenChanged, "/new"),
            (NodeDeleted, "/gone"),
        ];
        assert_eq!(missed, expected);
        assert!(w.contains("/old", A, WatcherType::Data));
        assert!(w.contains("/gone", A, WatcherType::Data), "waits for the node to be created");
        assert!(w.contains("/p", A, WatcherType::Persistent));
        assert!(w.contains("/r", A, WatcherType::PersistentRecursive));
        assert_eq!(w.count(), 5);
    }
}
