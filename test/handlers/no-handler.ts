export default { handle: () => new Response() };
