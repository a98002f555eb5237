//! Finds the files of a suite and runs their cases.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rayon::prelude::*;

use crate::{Case, Error, ExpectedFailures, Report, Suite, SuiteReport, Verdict};

/// Runs `suites` on the fixtures in `root`.
///
/// Errors: [`Error::NoFixtures`] if no folder of any of them is there; [`Error::Io`].
pub fn run(root: &Path, suites: &[Suite], expected: &ExpectedFailures) -> Result<Report, Error> {
    let folders = || suites.iter().flat_map(|suite| suite.folders());
    if !folders().any(|folder| root.join(folder).is_dir()) {
        let looked_for = folders().map(|folder| (*folder).to_owned()).collect();
        return Err(Error::NoFixtures { root: root.to_owned(), looked_for });
    }
    let suites: Result<_, _> =
        suites.iter().map(|suite| run_suite(root, *suite, expected)).collect();
    Ok(Report { suites: suites? })
}

fn run_suite(root: &Path, suite: Suite, expected: &ExpectedFailures) -> Result<SuiteReport, Error> {
    let started = Instant::now();
    let mut report = SuiteReport { name: suite.name().to_owned(), ..SuiteReport::default() };
    let mut files = Vec::new();
    let mut present = Vec::new();
    for folder in suite.folders() {
        let path = root.join(folder);
        if path.is_dir() {
            present.push(*folder);
            collect(&path, suite.extension(), &mut files)?;
        } else {
            report.absent.push((*folder).to_owned());
        }
    }
    files.sort();
    report.files = files.len();
    let context = suite.prepare(root);
    let run_file = |path: &PathBuf| {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let cases = match fs::read_to_string(path) {
            Ok(text) => context.cases(&name, &text),
            Err(error) => {
                let verdict = Verdict::Failed(format!("cannot read the file: {error}"));
                vec![Case { name: String::new(), verdict }]
            }
        };
        (name, cases)
    };
    let results: Vec<(String, Vec<Case>)> = if suite.is_ordered() {
        files.iter().map(run_file).collect()
    } else {
        files.par_iter().map(run_file).collect()
    };

    let mut ids = Vec::new();
    for (file, cases) in results {
        for case in cases {
            let id =
                if case.name.is_empty() { file.clone() } else { format!("{file}::{}", case.name) };
            match (case.verdict, expected.reason(&id)) {
                (Verdict::Passed, None) => report.passed += 1,
                (Verdict::Passed, Some(_)) => {
                    report.passed += 1;
                    report.unexpected_passes.push(id.clone());
                }
                (Verdict::Failed(reason), None) => {
                    report.failed.insert(id.clone(), reason);
                }
                (Verdict::Failed(_), Some(why)) => {
                    report.expected_failures.insert(id.clone(), why.to_owned());
                }
                (Verdict::NotSupported(reason), _) => {
                    *report.not_supported.entry(reason).or_default() += 1;
                }
            }
            ids.push(id);
        }
    }
    report.unmatched_expectations = expected.unmatched(&present, &ids);
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Every file below `folder` whose name ends in `extension`.
fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let io = |source| Error::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            collect(&path, extension, files)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}
