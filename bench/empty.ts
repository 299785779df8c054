// The floor of starting anything under Bun.
export {};
