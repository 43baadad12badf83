from tests.mutants.main import main

main()
