# about: cargo as an ordinary user through --net nat: one small package
# needs: cargo
# runs: outside
# net: host
# seconds: 130
. "$HERE/common/package.sh"
home=$(getent passwd "$(id -u)" | cut -d: -f6)
[ ! -d "$home/.rustup" ] || export RUSTUP_HOME=$home/.rustup
export CARGO_HOME=$PWD/cargo
mkdir -p src
echo 'fn main() {}' >src/main.rs
printf '[package]\nname = "asks"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nitoa = "=1.0.1"\n' >Cargo.toml
fetch cargo fetch
came cargo/registry/cache/*/*.crate
