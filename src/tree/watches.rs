//! Who waits for changes of what. Two tables as in Java: *data* watches (getData, exists) and
//! *child* watches (getChildren); persistent watches are in both, recursive ones in the data table
//! (C-165 … C-171). A watcher is a connection, known here by a number.
//! Java: `WatchManager`, `WatcherMode`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::wire::op::WatcherType;
use crate::wire::proto::SetWatches2;
use crate::wire::{Acl, EventType};

use super::index::Seed;
use super::{DataTree, Trigger};

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
    by_watcher: HashMap<WatcherId, HashSet<Arc<str>, Seed>, Seed>,
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
            self.forget(watcher, path);
        }
        true
    }

    fn taken(&mut self, old: Modes, new: Modes) {
        self.count -= usize::from(new.0 == 0);
        let was_recursive = old.has_any(Modes::RECURSIVE) && !new.has_any(Modes::RECURSIVE);
        self.recursive -= usize::from(was_recursive);
    }

    /// Takes a path off the list of a watcher.
    fn forget(&mut self, watcher: WatcherId, path: &str) {
        let Some(paths) = self.by_watcher.get_mut(&watcher) else { return };
        paths.remove(path);
        if paths.is_empty() {
            self.by_watcher.remove(&watcher);
        }
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
            let before: Vec<(WatcherId, Modes)> = watchers.iter().collect();
            found.extend(before.iter().map(|(watcher, _)| *watcher));
            let mut left = true;
            for (watcher, old) in before {
                let new = old.without(Modes::STANDARD);
                if new != old {
                    left = watchers.set(watcher, new);
                }
                if new.0 == 0 {
                    self.count -= 1;
                    if let Some(paths) = self.by_watcher.get_mut(&watcher) {
                        paths.remove(path);
                        if paths.is_empty() {
                            self.by_watcher.remove(&watcher);
                        }
                    }
                }
            }
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

/// What `wchs` prints, of the data table.
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
        change: &Trigger,
        mut deliver: impl FnMut(WatcherId, EventType, &str, &Arc<[Acl]>),
    ) {
        self.data.collect(&change.path, &mut self.found);
        for &watcher in &self.found {
            deliver(watcher, change.kind, &change.path, &change.acl);
        }
        if change.kind == EventType::NodeDeleted {
            self.child.collect(&change.path, &mut self.found_child);
            for &watcher in &self.found_child {
                if self.found.binary_search(&watcher).is_err() {
                    deliver(watcher, change.kind, &change.path, &change.acl);
                }
            }
        }
        if let Some(acl) = &change.parent_acl {
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
