import counting;

int main() { return count_inline() + count() == 3 ? 0 : 1; }
