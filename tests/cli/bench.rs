//! `bench`: it measures, its figures fit together, its page needs no network, and it leaves nothing behind.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Place, ended};

/// As short as it goes.
const TINY: [&str; 7] = [
    "bench",
    "--seconds=1",
    "--rounds=2",
    "--documents=40",
    "--threads=1,3",
    "--value-bytes=512,128",
    "--checkpoint-interval=30,none",
];

fn bench(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command();
    command.args(TINY).args(args);
    command
}

/// What is left in the directory.
fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn number(of: &Value) -> f64 {
    of.as_f64().unwrap_or_else(|| panic!("{of} is no number"))
}

fn check_spread(spread: &Value) {
    let [least, median, most] = ["least", "median", "most"].map(|key| number(&spread[key]));
    assert!(0.0 < least && least <= median && median <= most, "{spread}");
}

fn check_latency(latency: &Value) {
    let times =
        ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|key| number(&latency[key]));
    assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
    let points = latency["cdf"].as_array().unwrap();
    let point = |at: usize| [0, 1].map(|part| number(&points[at][part]));
    for at in 1..points.len() {
        assert!(point(at - 1)[0] < point(at)[0] && point(at - 1)[1] <= point(at)[1], "{points:?}");
    }
    assert!((point(points.len() - 1)[1] - 1.0).abs() < 1e-9, "all are in it: {points:?}");
    assert!(number(&latency["count"]) >= 1.0);
}

#[test]
fn the_figures_of_a_run_fit_together_and_nothing_is_left_behind() {
    let place = Place::new();
    let told = ended(&bench(&place, &["--json", "--html", "page.html"]).output().unwrap()).ok();
    let told: Value = serde_json::from_str(&told).unwrap();
    let rows = told["throughput"].as_array().unwrap();
    let asked: Vec<_> =
        rows.iter().map(|row| (row["durability"].as_str(), row["threads"].as_u64())).collect();
    let (sync, buffered) = (Some("sync"), Some("buffered"));
    assert_eq!(asked, [(sync, Some(1)), (sync, Some(3)), (buffered, Some(1)), (buffered, Some(3))]);
    for row in rows {
        for key in ["limit", "walden", "ratio"] {
            check_spread(&row[key]);
        }
        for key in ["latency", "limit_latency"] {
            check_latency(&row[key]);
        }
        let rounds = row["rounds"].as_array().unwrap();
        assert!((1..=2).contains(&rounds.len()), "{row}");
        let ratios = rounds.iter().map(|round| number(&round[1]) / number(&round[0]));
        let most = ratios.fold(0.0, f64::max);
        assert!((most - number(&row["ratio"]["most"])).abs() < 1e-6 * most, "{row}");
        // A group cannot be larger than all who wait, and holds one at least.
        let group = number(&row["group_size"]);
        assert!((1.0..=number(&row["threads"])).contains(&group), "{row}");
        assert!(number(&row["log_bytes_per_write"]) >= 512.0, "{row}");
    }
    for probe in told["disk"].as_array().unwrap() {
        check_latency(&probe["latency"]);
    }
    let settings: Vec<_> =
        told["tuning"].as_array().unwrap().iter().map(|v| &v["setting"]).collect();
    assert_eq!(settings.len(), 2 + 3 + 2, "{settings:?}");
    let openings = told["recovery"].as_array().unwrap();
    for two in openings.windows(2) {
        assert!(number(&two[0]["log_bytes"]) < number(&two[1]["log_bytes"]), "{openings:?}");
    }
    let watched = &told["checkpoints"];
    let slices = watched["slices"].as_array().unwrap();
    let in_slices: f64 = slices.iter().map(|slice| number(&slice["writes"])).sum();
    let all = number(&watched["idle"]["count"]) + number(&watched["during"]["count"]);
    assert!(in_slices > 0.0 && in_slices <= all, "{in_slices} of {all}");
    assert!(told["recommendation"].as_array().unwrap().len() >= 4, "{told}");
    assert!(number(&told["machine"]["cores"]) >= 1.0 && number(&told["free_bytes"]) > 0.0);
    assert_eq!(names(&place), ["page.html"]);
    check_page(&fs::read_to_string(place.path("page.html")).unwrap());
}

/// That it is whole, and loads nothing from anywhere.
fn check_page(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme: dark"));
    for loads in
        ["http:", "https:", "//", "src=", "href=", "url(", "@import", "<script", "<link", "<img"]
    {
        assert!(!page.contains(loads), "the page has {loads}");
    }
    let [open, closed] = ["<svg ", "</svg>"].map(|tag| page.matches(tag).count());
    assert!(open == closed && open >= 11, "{open} plots");
    for title in
        ["Throughput by threads", "Latency, sync", "Group size", "Recovery by", "Checkpoints:"]
    {
        assert!(page.contains(title), "{title}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "every figure is a number");
}

#[test]
fn people_are_told_what_was_measured_where_and_what_follows() {
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    let told =
        ended(&bench(&place, &["--dir", "disk", "--durability=sync"]).output().unwrap()).ok();
    for part in [
        "Measured in disk",
        "File system: ",
        "The disk, one thread",
        "Recommendation",
        "Durable writes: ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("buffered") && !told.contains('\x1b'), "{told}");
    assert_eq!(fs::read_dir(place.path("disk")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is_made() {
    let place = Place::new();
    place.write("file", "");
    let refusals: [(&[&str], i32, &str); 11] = [
        (&["--threads=0"], 2, "--threads"),
        (&["--threads=5000"], 2, "--threads"),
        (&["--durability=fast"], 2, "it is `sync` or `buffered`"),
        (&["--value-bytes=16"], 2, "--value-bytes"),
        (&["--checkpoint-interval=never"], 2, "`none`"),
        (&["--quick"], 2, "--seconds"),
        (&["--threads=4000", "--value-bytes=16777216"], 2, "1 GiB"),
        (&["--documents=10000000", "--value-bytes=16777216"], 2, "of memory"),
        (&["--dir=missing"], 3, "missing"),
        (&["--dir=file"], 3, "file"),
        (&["--html=missing/page.html"], 3, "missing"),
    ];
    for (args, code, word) in refusals {
        // Lists that are said twice would be refused for that.
        let args: Vec<&str> = TINY
            .into_iter()
            .filter(|tiny| !is_said(tiny, args))
            .chain(args.iter().copied())
            .collect();
        let told = ended(&place.command().args(args).output().unwrap()).failed(code);
        assert!(told.contains(word), "{word}: {told}");
    }
    let told = ended(&bench(&place, &["--json", "--dir=missing"]).output().unwrap()).failed(3);
    assert!(told.starts_with(r#"{"error":{"kind":"not_found""#), "{told}");
    assert_eq!(names(&place), ["file"]);
}

fn is_said(tiny: &str, args: &[&str]) -> bool {
    let name = |arg: &str| arg.split('=').next().unwrap().to_owned();
    args.iter().any(|arg| name(arg) == name(tiny))
}

/// On a disk in memory that is smaller than the measurements need; making one takes the right to mount.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_too_small_is_refused_with_how_much_is_missing() {
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(&disk).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    let told = ended(&bench(&place, &["--dir", "disk"]).output().unwrap());
    let left = fs::read_dir(&disk).unwrap().count();
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    let told = told.failed(7);
    assert!(told.contains("no space left") && told.contains("are needed"), "{told}");
    assert_eq!(left, 0);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_and_leaves_nothing_behind() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::new();
    let mut command = place.command();
    command.args(["bench", "--seconds=600", "--documents=40", "--threads=4"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let is_measuring =
        || names(&place).iter().any(|name| place.path(name).join("prewritten").exists());
    while !is_measuring() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
        sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let told = ended(&child.wait_with_output().unwrap()).failed(1);
    assert!(told.contains("interrupted"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(120), "it took its time");
    assert_eq!(names(&place), Vec::<String>::new());
}
