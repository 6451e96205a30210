fn main() {
    println!("ironkeeper {}", env!("CARGO_PKG_VERSION"));
}
