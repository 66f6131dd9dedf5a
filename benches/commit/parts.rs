//! The parts of a commit and of an opening, by criterion.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use walden::fs::real::RealFs;
use walden::state::{Collection, Op, Table};
use walden::wal::format::{
    ENTRY_BYTES, Entry, GROUP_HEADER_BYTES, GroupHeader, GroupKind, encode_group_head, group_crc,
};
use walden::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record, SegmentNumber};
use walden::{Lsn, Store, StoreId, Timestamp};

use crate::limit::{Groups, Limit, Way};
use crate::place::Place;
use crate::tasks;

const IDENTITY: Identity = Identity { store: StoreId(7), incarnation: 1, nonce: 42 };
const LOG_BYTES: u64 = 16 << 20;

pub(crate) fn run(criterion: &mut Criterion, place: &Place) {
    latency(criterion, place);
    caller(criterion);
    apply(criterion);
    group_head(criterion);
    scan(criterion, place);
}

/// One thread that waits for each of its puts.
fn latency(criterion: &mut Criterion, place: &Place) {
    let texts = tasks::prepare(100);
    let records: Vec<Arc<[u8]>> = texts.iter().map(|text| Arc::from(text.as_bytes())).collect();
    let mut group = criterion.benchmark_group("latency");
    group.bench_function("raw durable write by the caller", |bencher| {
        let mut file = Groups::prewritten(&tempfile_in(place), 8 << 20).expect("room");
        let mut records = records.chunks(1).cycle();
        bencher.iter(|| records.next().map(|record| file.commit(record).expect("room")));
    });
    group.bench_function("raw write + flush by the caller", |bencher| {
        let mut file = Groups::plain(&tempfile_in(place), 8 << 20, Way::Flush).expect("room");
        let mut records = records.chunks(1).cycle();
        bencher.iter(|| records.next().map(|record| file.commit(record).expect("room")));
    });
    group.bench_function("raw write + flush by a thread", |bencher| {
        let groups = Groups::plain(&tempfile_in(place), 8 << 20, Way::Flush).expect("room");
        let limit = Limit::start(groups);
        let client = limit.client(false);
        let mut records = records.iter().cycle();
        bencher.iter(|| records.next().map(|record| client.put(record).expect("room")));
    });
    group.bench_function("walden put", |bencher| {
        let store = Store::open(tempfile_in(place)).expect("a new store");
        let mut texts = texts.iter().cycle();
        bencher.iter(|| texts.next().map(|text| store.save_task_json(text).expect("room")));
        store.shutdown().expect("the store can be shut down");
    });
    group.finish();
}

/// A name that nobody has in this run yet.
pub(crate) fn tempfile_in(place: &Place) -> std::path::PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    place.join(&format!("part-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// What the caller's thread does for a put: check and index the document, encode it, checksum.
fn caller(criterion: &mut Criterion) {
    let text = tasks::prepare(1).concat();
    let put = || Op::put(Collection::Task, &text, 1 << 20).expect("a valid task");
    let op = put();
    let (kind, payload) = op.encode();
    let mut group = criterion.benchmark_group("caller, 1 KB");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("check and index", |bencher| bencher.iter(put));
    group.bench_function("encode", |bencher| bencher.iter(|| op.encode()));
    group.bench_function("checksum", |bencher| {
        bencher.iter_batched(
            || payload.clone(),
            |payload| Record::new(kind, Origin::Api, payload),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// What the writer does for each put besides the log: the table in memory.
fn apply(criterion: &mut Criterion) {
    let put = |text: &String| Op::put(Collection::Task, text, 1 << 20).expect("a valid task");
    let ops: Vec<Op> = tasks::prepare(10_000).iter().map(put).collect();
    let mut table = Table::new();
    let mut changes = ops.iter().cycle().zip(1..).map(|(op, lsn)| (Lsn(lsn), op.clone()));
    criterion.bench_function("writer/apply a put to 10,000 tasks", |bencher| {
        bencher.iter_batched(
            || [changes.next().expect("it goes round")],
            |change| table.apply(&change).expect("a put is always possible"),
            BatchSize::SmallInput,
        );
    });
}

/// What the writer does for a group besides copying its records: header, table, checksum.
fn group_head(criterion: &mut Criterion) {
    let count = 64_u32;
    let entry = Entry { length: 1024, crc: 7, kind: 1, flags: 1, origin: 1 };
    let header = GroupHeader {
        kind: GroupKind::Data,
        count,
        length: GROUP_HEADER_BYTES as u64 + u64::from(count) * (ENTRY_BYTES as u64 + 1024),
        first_lsn: Lsn(1),
        durable_lsn: Lsn::ZERO,
        incarnation: IDENTITY.incarnation,
        time_ns: 0,
        chain: 0,
        next_segment: SegmentNumber(0),
    };
    let mut bytes = Vec::new();
    criterion.bench_function("writer/head of a group of 64", |bencher| {
        bencher.iter(|| {
            let mut table = Vec::with_capacity(64 * ENTRY_BYTES);
            (0..count).for_each(|_| black_box(&entry).encode(&mut table));
            let crc_of = |covered: &[u8]| group_crc(&IDENTITY, SegmentNumber(1), 4096, covered);
            bytes.clear();
            encode_group_head(&header, &table, crc_of, &mut bytes)
        });
    });
}

/// Reading and checking a log of 16 MiB, as recovery does.
fn scan(criterion: &mut Criterion, place: &Place) {
    let fs = Arc::new(RealFs::create(&tempfile_in(place)).expect("a new directory"));
    let empty = wal::scan(&*fs, "", &Hints::default()).expect("an empty directory");
    let options = LogOptions { segment_bytes_min: LOG_BYTES, ..LogOptions::default() };
    let log = Log::begin(fs.clone(), "", &empty, IDENTITY, options, Timestamp(0));
    let mut log = log.expect("a new log");
    let records: Vec<Record> = tasks::prepare(64)
        .iter()
        .map(|text| Record::new(1, Origin::Api, text.clone().into_bytes()))
        .collect();
    while log.stats().bytes < LOG_BYTES - (1 << 20) {
        log.append(&records, Timestamp(0)).expect("room");
    }
    log.sync().expect("the disk takes it");
    drop(log);

    let mut group = criterion.benchmark_group("log of 16 MiB");
    group.sample_size(10).throughput(Throughput::Bytes(LOG_BYTES));
    group.bench_function("scan", |bencher| {
        bencher.iter(|| wal::scan(&*fs, "", &Hints::default()).expect("an intact log"));
    });
    group.bench_function("scan and replay", |bencher| {
        bencher.iter(|| {
            let scan = wal::scan(&*fs, "", &Hints::default()).expect("an intact log");
            let mut bytes = 0;
            let replayed = scan.replay(&*fs, "", Lsn::ZERO, &mut |group| {
                bytes += group.records().iter().map(|record| record.payload.len()).sum::<usize>();
                Ok(())
            });
            replayed.expect("an intact log");
            bytes
        });
    });
    group.finish();
}
