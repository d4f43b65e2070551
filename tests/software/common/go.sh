# go_program NAME: builds common/NAME.go as ./NAME; a copy is kept outside, made by the native run.
go_program() {
	local kept=$HERE/../../build/software/$1
	if [ "$PLACE" = native ] && ! [ "$kept" -nt "$HERE/common/$1.go" ]; then
		GOCACHE=$PWD/cache GOPATH=$PWD/path GOFLAGS=-mod=mod GO111MODULE=off CGO_ENABLED=0 go build -o "$kept" "$HERE/common/$1.go" || exit 1
	fi
	cp "$kept" "$1"
}
