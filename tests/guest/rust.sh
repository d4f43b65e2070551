# cargo build of hello; its result runs.
exec 2>&1
home=$(getent passwd "$(id -u)" | cut -d: -f6)
export CARGO_HOME=${CARGO_HOME:-$home/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
command -v cargo >/dev/null && cargo --version >/dev/null 2>&1 || { echo "no cargo"; exit 77; }
mkdir -p hello/src; cat > hello/Cargo.toml <<'END'
[package]
name = "hello"
version = "0.1.0"
edition = "2021"
END
cat > hello/src/main.rs <<'END'
use std::sync::mpsc;
use std::thread;
fn main() {
    let (tx, rx) = mpsc::channel();
    for i in 0..8 {
        let tx = tx.clone();
        thread::spawn(move || tx.send(i * i).unwrap());
    }
    drop(tx);
    println!("sum {}", rx.iter().sum::<i32>());
    println!("{}", std::env::args().count());
    std::process::exit(7);
}
END
cd hello && cargo build -q --offline && ./target/debug/hello a b; echo "status $?"
