// Runs the queries given as arguments in DuckDB, and prints the rows of each as a line of JSON.
import { DuckDBInstance } from '@duckdb/node-api';

const instance = await DuckDBInstance.create(':memory:');
const connection = await instance.connect();
for (const query of process.argv.slice(2)) {
  const rows = await connection.runAndReadAll(query);
  console.log(JSON.stringify(rows.getRowObjectsJson()));
}
