//! limits.json.

use serde_json::json;

use crate::place::{Place, refused};
use crate::support::layout;
use crate::support::output;

#[test]
fn an_image_is_held_to_the_limits_of_the_user() {
    let place = Place::new();
    // A megabyte of zeros is no archive beyond its end, but it is inflated.
    layout::write(
        &place.path("large"),
        "localhost/a:1",
        json!({ "Cmd": ["x"] }),
        &[0; 1 << 20],
    );
    let load = output(
        place
            .terrarium()
            .args(["load", "--quiet"])
            .arg(place.path("large")),
    );
    assert!(load.status.success());
    let disk = || {
        let mut command = place.terrarium();
        command.args([
            "disk",
            "--quiet",
            "--platform",
            "linux/amd64",
            "localhost/a:1",
        ]);
        command
    };
    place.write("home/limits.json", r#"{"inflatedBytes": 1000000}"#);
    refused(&mut disk(), ["1000000", "inflatedBytes", "limits.json"]);
    place.write("home/limits.json", r#"{"inflated": 1}"#);
    refused(&mut disk(), ["limits.json", "inflated"]);
    let disks = std::fs::read_dir(place.path("home/disks")).unwrap();
    assert_eq!(disks.count(), 0);
    place.write("home/limits.json", r#"{"inflatedBytes": 2000000}"#);
    assert!(output(&mut disk()).status.success());
}
