let requests = 0;
export default async (request: Request) => new Response(`${++requests} ${await request.text()}`);
