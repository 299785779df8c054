export type Numbers = readonly number[];
export const double = (x: number): number => x * 2;
export const unused = (x: number): number => x * 3;
