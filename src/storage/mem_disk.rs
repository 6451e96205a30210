//! A medium in memory that can lose what was not synced, for tests and the simulator.
//!
//! Every file has a *live* image (what the process sees) and a *durable* one (what a power cut
//! leaves), and so has every directory. [`MemDisk::crash`] makes the durable image the live one,
//! after letting some of the unsynced writes through: whole ones in order, the next one torn at
//! sector boundaries in any order, as a real device does.
//! Deterministic: the same operations, faults and seeds give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::disk::{Disk, DiskFile, Entry, Existing, SECTOR, SharedDisk, parent};

/// What happens to unsynced writes in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing that was not synced survives.
    Lost,
    /// Everything survives: the process died, the machine did not.
    Kept,
    /// For each file and directory a part survives, drawn from this seed.
    Some(u64),
}

/// What an operation that is to fail does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO, once; nothing is written.
    Io,
    /// ENOSPC, once; nothing is written.
    NoSpace,
    /// EIO, once; half of the bytes are written.
    TornWrite,
    /// The power goes: this and every later operation fails until [`MemDisk::crash`].
    PowerCut,
}

#[derive(Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Name changes of each directory since its last sync.
    unsynced_names: BTreeMap<PathBuf, Vec<NameChange>>,
    dirs: BTreeSet<PathBuf>,
    /// Changing operations so far.
    ops: u64,
    fault: Option<(u64, Fault)>,
    power_off: bool,
    /// Handles opened before the last crash are dead.
    generation: u64,
}

#[derive(Default)]
struct File {
    live: Image,
    durable: Image,
    unsynced: Vec<Change>,
    modified: i64,
}

/// A file's bytes. What it was given in advance and nobody has written takes no memory.
#[derive(Clone, Default)]
struct Image {
    written: Vec<u8>,
    /// The file's length; zeros lie behind what is written.
    len: usize,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl MemDisk {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn shared(&self) -> SharedDisk {
        Arc::new(self.clone())
    }

    /// Changing operations (writes, syncs, names) so far.
    pub fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// Makes the `nth` changing operation from now (1 is the next) fail.
    pub fn fail(&self, nth: u64, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some((state.ops + nth, fault));
    }

    /// Power cut and restart: what was not synced is lost as `unsynced` says. Open handles die.
    pub fn crash(&self, unsynced: Unsynced) {
        let mut state = self.lock();
        let mut rng = Rng(match unsynced {
            Unsynced::Some(seed) => seed,
            _ => 0,
        });
        for file in &mut state.files {
            file.crash(unsynced, &mut rng);
        }
        state.crash_names(unsynced, &mut rng);
        state.power_off = false;
        state.fault = None;
        state.generation += 1;
    }

    /// Overwrites bytes of a file behind everybody's back, durably: rot, or a test's own file.
    pub fn poke(&self, path: &Path, offset: usize, bytes: &[u8]) {
        let mut state = self.lock();
        let id = match state.live.get(path) {
            Some(&id) => id,
            None => {
                let id = state.new_file();
                state.live.insert(path.into(), id);
                state.durable.insert(path.into(), id);
                state.add_dirs(parent(path));
                id
            }
        };
        let file = &mut state.files[id];
        file.live.write(offset as u64, bytes);
        file.durable.write(offset as u64, bytes);
    }

    /// A file's live bytes.
    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        state.live.get(path).map(|&id| state.files[id].live.to_vec())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked while holding the lock has failed already.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn handle(&self, state: &State, id: usize) -> Box<dyn DiskFile> {
        Box::new(MemFile { disk: self.clone(), id, generation: state.generation })
    }

    fn open_any(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.lock();
        state.check_power()?;
        match state.live.get(path) {
            Some(&id) => Ok(self.handle(&state, id)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.power_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a changing operation; the error it is to fail with, if any.
    fn op(&mut self) -> Result<(), Fault> {
        if self.power_off {
            return Err(Fault::PowerCut);
        }
        self.ops += 1;
        match self.fault {
            Some((at, fault)) if at == self.ops => {
                self.fault = None;
                self.power_off = fault == Fault::PowerCut;
                Err(fault)
            }
            _ => Ok(()),
        }
    }

    fn simple_op(&mut self) -> io::Result<()> {
        self.op().map_err(Fault::error)
    }

    fn new_file(&mut self) -> usize {
        let modified = self.ops as i64;
        self.files.push(File { modified, ..File::default() });
        self.files.len() - 1
    }

    fn add_dirs(&mut self, dir: &Path) {
        self.dirs.extend(dir.ancestors().map(Path::to_path_buf));
    }

    /// Frees the bytes of files that nobody can ever open again.
    fn forget_nameless(&mut self) {
        let named: BTreeSet<usize> =
            self.live.values().chain(self.durable.values()).copied().collect();
        let nameless = self.files.iter_mut().enumerate().filter(|(id, _)| !named.contains(id));
        nameless.for_each(|(_, file)| *file = File::default());
    }

    fn rename_log(&mut self, path: &Path, change: NameChange) {
        self.unsynced_names.entry(parent(path).into()).or_default().push(change);
    }

    fn crash_names(&mut self, unsynced: Unsynced, rng: &mut Rng) {
        for (_, changes) in std::mem::take(&mut self.unsynced_names) {
            let kept = match unsynced {
                Unsynced::Lost => 0,
                Unsynced::Kept => changes.len(),
                Unsynced::Some(_) => rng.below(changes.len() + 1),
            };
            for change in changes.into_iter().take(kept) {
                apply_name(&mut self.durable, change);
            }
        }
        self.live = self.durable.clone();
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, change: NameChange) {
    match change {
        NameChange::Add(path, id) => {
            names.insert(path, id);
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
        NameChange::Rename(from, to, id) => {
            names.remove(&from);
            names.insert(to, id);
        }
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Io | Fault::TornWrite => io::Error::from_raw_os_error(libc::EIO),
            Fault::NoSpace => io::Error::from_raw_os_error(libc::ENOSPC),
            Fault::PowerCut => io::Error::other("the power went"),
        }
    }
}

impl File {
    fn crash(&mut self, unsynced: Unsynced, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.unsynced);
        let kept = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Kept => changes.len(),
            Unsynced::Some(_) => rng.below(changes.len() + 1),
        };
        for change in &changes[..kept] {
            change.apply(&mut self.durable);
        }
        if let (Unsynced::Some(_), Some(Change::Write(offset, bytes))) =
            (unsynced, changes.get(kept))
        {
            tear(&mut self.durable, *offset, bytes, rng);
        }
        self.live = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, image: &mut Image) {
        match self {
            Change::Write(offset, bytes) => image.write(*offset, bytes),
            Change::SetLen(len) => image.set_len(*len as usize),
        }
    }
}

impl Image {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if self.written.len() < end {
            self.written.resize(end, 0);
        }
        self.written[start..end].copy_from_slice(bytes);
        self.len = self.len.max(end);
    }

    fn set_len(&mut self, len: usize) {
        self.written.truncate(len);
        self.len = len;
    }

    fn read(&self, offset: usize, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.len.saturating_sub(offset));
        let written = self.written.get(offset..).unwrap_or_default();
        let (copied, zeros) = buf[..n].split_at_mut(n.min(written.len()));
        copied.copy_from_slice(&written[..copied.len()]);
        zeros.fill(0);
        n
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.written.clone();
        bytes.resize(self.len, 0);
        bytes
    }
}

/// Lets any of the write's sectors through.
fn tear(image: &mut Image, offset: u64, bytes: &[u8], rng: &mut Rng) {
    let end = offset + bytes.len() as u64;
    let mut from = offset;
    while from < end {
        let to = ((from / SECTOR + 1) * SECTOR).min(end);
        if rng.below(2) == 1 {
            image.write(from, &bytes[(from - offset) as usize..(to - offset) as usize]);
        }
        from = to;
    }
}

/// xorshift64*: enough for choosing what a crash keeps.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

impl Disk for MemDisk {
    fn is_dir(&self, dir: &Path) -> bool {
        self.lock().dirs.contains(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.simple_op()?;
        state.add_dirs(dir);
        Ok(())
    }

    fn check_writable(&self, _dir: &Path) -> io::Result<()> {
        self.lock().check_power()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.lock();
        state.check_power()?;
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let in_dir = state.live.iter().filter(|(path, _)| parent(path) == dir);
        Ok(in_dir
            .filter_map(|(path, &id)| {
                let file = &state.files[id];
                let name = path.file_name()?.to_str()?.to_string();
                Some(Entry { name, len: file.live.len as u64, modified: file.modified })
            })
            .collect())
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.simple_op()?;
        if !state.dirs.contains(parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        match state.live.get(path) {
            Some(_) if existing == Existing::Refuse => Err(io::ErrorKind::AlreadyExists.into()),
            Some(&id) => {
                state.files[id].live.set_len(0);
                state.files[id].unsynced.push(Change::SetLen(0));
                Ok(self.handle(&state, id))
            }
            None => {
                let id = state.new_file();
                state.live.insert(path.into(), id);
                state.rename_log(path, NameChange::Add(path.into(), id));
                Ok(self.handle(&state, id))
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_any(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_any(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.simple_op()?;
        let id = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.insert(to.into(), id);
        state.rename_log(from, NameChange::Rename(from.into(), to.into(), id));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.simple_op()?;
        state.live.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.rename_log(path, NameChange::Remove(path.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.simple_op()?;
        let changes = state.unsynced_names.remove(dir).unwrap_or_default();
        let removes = changes.iter().any(|change| matches!(change, NameChange::Remove(_)));
        for change in changes {
            apply_name(&mut state.durable, change);
        }
        if removes {
            state.forget_nameless();
        }
        Ok(())
    }
}

struct MemFile {
    disk: MemDisk,
    id: usize,
    generation: u64,
}

impl MemFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.generation != self.generation {
            return Err(io::Error::other("the handle is from before a crash"));
        }
        Ok(state)
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        let mut state = self.state()?;
        state.check_power()?;
        let fault = state.op().err();
        let ops = state.ops as i64;
        let file = &mut state.files[self.id];
        let change = match (fault, change) {
            (None | Some(Fault::PowerCut), change) => change,
            (Some(Fault::TornWrite), Change::Write(offset, mut bytes)) => {
                bytes.truncate(bytes.len() / 2);
                Change::Write(offset, bytes)
            }
            (Some(fault), _) => return Err(fault.error()),
        };
        change.apply(&mut file.live);
        file.unsynced.push(change);
        file.modified = ops;
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }
}

impl DiskFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state()?.files[self.id].live.len as u64)
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.size()?).then_some(offset))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.state()?;
        state.check_power()?;
        Ok(state.files[self.id].live.read(offset as usize, buf))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len))
    }

    fn write_back(&mut self, _: u64, _: u64) -> io::Result<()> {
        self.state()?.check_power()
    }

    fn sync_data(&mut self) -> io::Result<Duration> {
        let mut state = self.state()?;
        state.simple_op()?;
        let file = &mut state.files[self.id];
        for change in std::mem::take(&mut file.unsynced) {
            change.apply(&mut file.durable);
        }
        Ok(Duration::ZERO)
    }
}
